#!/bin/bash
# Try one role: its scenario's whole sequence, into a log; close with one line, after the log's end when it failed.
#   tests/molecule/try.sh ROLE
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
role=$1 log=$PWD/../.cache/image/logs/$1.log
mkdir -p "$(dirname "$log")"
F1TENTH_TEST_IMAGE=$(python image/rootfs.py) || exit 1
# systemd 247, for a scenario that tries its role on both.
F1TENTH_TEST_IMAGE_247=$(python image/rootfs.py bullseye) || exit 1
export F1TENTH_TEST_IMAGE F1TENTH_TEST_IMAGE_247
begun=$SECONDS
# What a check after the idempotence, where a scenario has one, would still change.
unclean() {
    sed 's/\x1b\[[0-9;]*m//g' "$log" | sed -n '/idempotence: Executed: /,/verify: Executing/p' |
        grep -E "f1tenth-$role[-0-9]* +: ok=.* changed=[1-9]"
}
if molecule --base-config molecule/base.yml test -s "$role" >"$log" 2>&1 && ! unclean; then
    behaviour=$(grep -oE '[0-9]+ passed(, [0-9]+ skipped)? in' "$log" | cut -d' ' -f1 | paste -sd+)
    echo "molecule $role: passed in $((SECONDS - begun)) s${behaviour:+; behaviour: $behaviour tests}"
else
    tail -n 80 "$log"
    echo "molecule $role: FAILED after $((SECONDS - begun)) s; the whole log is .cache/image/logs/$role.log"
    exit 1
fi
