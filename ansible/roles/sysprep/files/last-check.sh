#!/bin/sh
# Fail, naming each, if anything of the builder is left on this machine. Run as root, last, in a session
# that is already open; Packer runs it from /tmp and removes it.
set -u
left=0
# Names are split at line ends alone.
IFS='
'

found() {
    echo "left behind: $1" >&2
    left=1
}

absent() {
    for path in "$@"; do
        [ ! -e "$path" ] || found "$path"
    done
}

empty() {
    for directory in "$@"; do
        [ -z "$(find "$directory" -mindepth 1 -print -quit 2>/dev/null)" ] || found "$directory is not empty"
    done
}

[ ! -s /etc/machine-id ] || found "/etc/machine-id has an id"
absent /etc/ssh/ssh_host_*
for home in /root /home/*; do
    absent "$home/.ssh/authorized_keys" "$home/.ssh/known_hosts" "$home/.bash_history" "$home/.python_history" \
        "$home/.ansible" "$home/.cache" "$home/.aws"
done
absent /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/cloud/instance
empty /var/lib/apt/lists /var/lib/cloud /var/log/journal

# A unit with PrivateTmp= has an empty directory here as long as it runs; any may start at any time, and the next boot
# removes what is left (tmpfiles.d/systemd-tmp.conf). Only the content of one can be the builder's.
for path in $(find /var/tmp -mindepth 1 -not '(' -type d -regex '/var/tmp/systemd-private-[^/]*\(/tmp\)?' ')' 2>/dev/null); do
    found "$path"
done

# Packer's own copy of this script, and sockets of running services, may be in /tmp.
for path in $(find /tmp -mindepth 1 -type f -not -name 'script_*.sh' -not -path "$0" 2>/dev/null); do
    found "$path"
done

# Keys and tokens by their shapes, wherever the bake wrote something of its own.
secret='AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY-----|aws_secret_access_key *=' # pragma: allowlist secret
hits=$(grep -rIlE "$secret" /etc /root /home /run/f1tenth /opt/f1tenth/app /opt/f1tenth/src /var/lib/f1tenth 2>/dev/null \
    | grep -v -e '/etc/ssl/certs/' -e '/\.git/')
for path in $hits; do
    found "$path holds what looks like a key"
done

[ "$left" = 0 ] && echo "nothing of the builder is left"
exit "$left"
