#!/bin/sh
# Build a package with the CloudWatch agent's name and unit.
set -eu
root=$(mktemp -d)
chmod 755 "$root"
mkdir -p "$root/DEBIAN" "$root/lib/systemd/system"
printf '[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n' \
    >"$root/lib/systemd/system/amazon-cloudwatch-agent.service"
printf 'Package: amazon-cloudwatch-agent\nVersion: 1.0\nArchitecture: amd64\nMaintainer: nobody <nobody@localhost>\nDescription: stand-in\n' \
    >"$root/DEBIAN/control"
dpkg-deb --build "$root" /srv/agent.deb >/dev/null
