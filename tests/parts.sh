#!/bin/bash
# Run the parts of `make test`, each whatever became of those before it, and close with a line for each.
#   tests/parts.sh PART... [-- PART... ]      those after -- boot systemd in containers
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
lack=$(sh tests/image/missing_packages.sh)
containers='' closing='' status=0
for part in "$@"; do
    begun=$SECONDS
    if [ "$part" = -- ]; then
        containers=yes
        continue
    elif [ -n "$containers" ] && [ -n "$lack" ]; then
        ended="skipped: $lack"
    elif printf '\n--- make %s\n' "$part" && "${MAKE:-make}" "$part"; then
        ended="passed in $((SECONDS - begun)) s"
    else
        ended="FAILED after $((SECONDS - begun)) s" status=1
    fi
    closing+="make $part: $ended"$'\n'
done
printf '\n%s' "$closing"
exit "$status"
