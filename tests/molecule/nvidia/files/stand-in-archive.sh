#!/bin/sh
# Build packages with the driver's names, a few bytes each, and the index of a local archive.
set -eu
version=580.95.05-1
mkdir -p /srv/archive
cd /srv/archive

build() { # name, path of its program, what that prints or does, what it depends on
    root=$(mktemp -d)
    mkdir -p "$root/DEBIAN" "$root$(dirname "$2")"
    printf '#!/bin/sh\n%s\n' "$3" >"$root$2"
    chmod 755 "$root" "$root$2"
    if [ "$1" = nvidia-persistenced ]; then
        # As Ubuntu's package has it: it cannot be enabled, stops when not needed, and keeps nothing.
        mkdir -p "$root/lib/systemd/system"
        printf '[Unit]\nStopWhenUnneeded=true\n[Service]\nExecStart=%s --user nvpd --no-persistence-mode --verbose\n' "$2" \
            >"$root/lib/systemd/system/nvidia-persistenced.service"
    fi
    printf 'Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: nobody <nobody@localhost>\nDescription: stand-in\n' \
        "$1" "$version" >"$root/DEBIAN/control"
    [ -z "${4:-}" ] || printf 'Depends: %s\n' "$4" >>"$root/DEBIAN/control"
    dpkg-deb --build "$root" "$1.deb" >/dev/null
    rm -r "$root"
}

build nvidia-smi /usr/bin/nvidia-smi 'echo 580.95.05'
build nvidia-persistenced /usr/bin/nvidia-persistenced 'exec sleep infinity'
build nvidia-modprobe /usr/bin/nvidia-modprobe 'echo "$@" >/run/nvidia-modprobe.called'
build libcuda1 /usr/share/libcuda1/marker 'exit 0'
# For the question before a bake: another branch of a driver that is asked for, and one whose kernel is gone.
build linux-modules-nvidia-580-server-open-aws /usr/share/modules-580/marker 'exit 0'
build nvidia-needs-a-kernel /usr/share/needs-a-kernel/marker 'exit 0' linux-image-of-yesterday

for deb in *.deb; do
    dpkg-deb --field "$deb"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat --format=%s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
done >Packages.new
mv Packages.new Packages
