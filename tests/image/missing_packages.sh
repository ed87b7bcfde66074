#!/bin/sh
# Print why containers that boot systemd cannot be tried on this machine; print nothing when they can.
set -u
. /etc/os-release
if [ "$(id -u)" != 0 ]; then
    echo "needs root: sudo make test"
elif [ "$ID" != debian ] || [ "${VERSION_ID:-}" != 12 ]; then
    echo "needs Debian 12, whose archive has Packer and podman; this is $PRETTY_NAME"
elif ! mountpoint -q /sys/fs/cgroup || [ ! -w /sys/fs/cgroup ]; then
    echo "needs control groups that it may write; a container around it must be privileged"
fi
