"""Build the Debian roots that boot systemd in a container, once, and import them into podman.

``python tests/image/rootfs.py`` prints the name of Debian 12's image, ``… bookworm bullseye`` one name a line. A
root is cached by a hash of its suite, package list and options, because building it takes half a minute and importing
it ten seconds; several are built at the same time.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
CACHE = Path(os.environ.get("F1TENTH_IMAGE_CACHE", REPOSITORY / ".cache" / "image"))
# Where /bin is a link to /usr/bin, as on Ubuntu: Debian 11's minimal base has two directories, and the units' programs
# in the other one. Links made before the first package do it; mmdebstrap's own hook fails there (usr-is-merged).
MERGED_USR = 'for d in bin sbin lib lib32 lib64 libx32; do mkdir -p "$1/usr/$d"; ln -s "usr/$d" "$1/$d"; done'
# The suites and their options: systemd 252 and 247, which bracket the 249 of Ubuntu 22.04.
SUITES = {"bookworm": (), "bullseye": (f"--setup-hook={MERGED_USR}",)}
SUITE = "bookworm"
PACKAGES = HERE / "rootfs-packages.txt"
BAKED_IMAGE = os.environ.get("F1TENTH_BAKED_IMAGE", "localhost/f1tenth-baked:latest")
# On the baked image: the hash of all that it was made from, so that a rehearsal knows whether it is of this tree.
TREE_LABEL = "f1tenth.tree"
# Of the code the simulator alone: it comes with each run's bundle, but its kernels are compiled in the image.
BAKED_FROM = ("ansible", "packer", "requirements.txt", "tests/image/rootfs-packages.txt", "training/sim")


def main() -> None:
    """Print the names of images that boot systemd, building those that are missing."""
    with ThreadPoolExecutor() as builders:
        print(*builders.map(image_of, sys.argv[1:] or [SUITE]), sep="\n")


def image_of(suite: str) -> str:
    """Return the name of a suite's image; a registry's, say of Ubuntu with systemd, may stand in for Debian 12's."""
    named = os.environ.get("F1TENTH_TEST_IMAGE")
    return named if named and suite == SUITE else ensure_image(suite)


def ensure_image(suite: str = SUITE) -> str:
    """Return the name of the podman image, building and importing the root first if need be."""
    image = f"localhost/f1tenth-{suite}:{root_hash(suite)}"
    if podman("image", "exists", image, check=False).returncode != 0:
        podman("import", "--change", 'CMD ["/sbin/init"]', str(ensure_root(suite)), image)
    return image


def ensure_root(suite: str) -> Path:
    """Return the tar file of the root, bootstrapping it when no root of this package list is cached."""
    root = CACHE / f"{suite}-{root_hash(suite)}.tar"
    if root.exists():
        return root
    CACHE.mkdir(parents=True, exist_ok=True)
    # mmdebstrap picks the format by the name, so the unfinished file ends in .tar too.
    partial = root.with_name(f"{root.stem}.partial.tar")
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *SUITES[suite],
        f"--include={','.join(package_names())}",
        suite,
        str(partial),
    ]
    print(f"building {root.name}: about a minute", file=sys.stderr)
    subprocess.run(command, check=True, stdout=sys.stderr)
    return partial.rename(root)


def package_names() -> list[str]:
    """Return the packages of the root, in the order of the file."""
    lines = PACKAGES.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def root_hash(suite: str) -> str:
    """Return twelve hex digits that change with the suite, its options or the package list."""
    return hashlib.sha256(" ".join([suite, *SUITES[suite], *package_names()]).encode()).hexdigest()[:12]


def tree_hash() -> str:
    """Return the sha256 of all that a bake is made from."""
    digest = hashlib.sha256()
    for source in (REPOSITORY / name for name in BAKED_FROM):
        files = [source] if source.is_file() else sorted(source.rglob("*"))
        for path in files:
            if not path.is_file() or path.parent.name == "__pycache__":
                continue
            digest.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def podman(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run podman under the test configuration and return what it printed."""
    environment = {**os.environ, "CONTAINERS_CONF": str(HERE / "containers.conf")}
    return subprocess.run(
        ["podman", *arguments], check=check, env=environment, text=True, stdout=subprocess.PIPE
    )


if __name__ == "__main__":
    main()
