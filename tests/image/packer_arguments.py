"""The arguments that Packer and its plugins know at the pinned versions, as a list of names with their types.

``python tests/image/packer_arguments.py FOLDER > tests/image/packer-arguments.txt`` writes the list again, after a pin
was raised: FOLDER holds clones of hashicorp/packer, packer-plugin-amazon, packer-plugin-ansible with their tags.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLUGINS = HERE.parents[1] / "packer" / "plugins.pkr.hcl"
LIST = HERE / "packer-arguments.txt"
SPEC = re.compile(r"^func \(\*Flat(\w+)\) HCL2Spec\(\).*?^}", re.MULTILINE | re.DOTALL)
ARGUMENT = re.compile(
    r'^\s+"(?P<name>\w+)":\s+&hcldec\.(?P<kind>Attr|Block|BlockList)Spec\{(?P<rest>.*)\},$', re.MULTILINE
)
NESTED = re.compile(r"\(\*(?:\w+\.)?Flat(\w+)\)")
TYPE = re.compile(r"Type: cty\.(String|Number|Bool|List|Map)\b")
# Component, repository, its specs: the first holds the component itself, the others what is nested in it.
COMPONENTS = {
    "amazon-ebs": ("packer-plugin-amazon", ("builder/ebs", "common")),
    "ansible": ("packer-plugin-ansible", ("provisioner/ansible",)),
    "shell": ("packer", ("provisioner/shell",)),
    "file": ("packer", ("provisioner/file",)),
    "manifest": ("packer", ("post-processor/manifest",)),
}


def pins() -> dict[str, str]:
    """Return the tag of each repository: the pinned plugins, and the oldest Packer that is accepted."""
    text = PLUGINS.read_text(encoding="utf-8")
    tags = {
        f"packer-plugin-{name}": f"v{version}"
        for name, version in re.findall(r'hashicorp/(\w+)"\n +version = "= ([\d.]+)"', text)
    }
    oldest = re.search(r'required_version = ">= ([\d.]+)"', text)
    assert oldest, "packer/plugins.pkr.hcl names no oldest Packer"
    return {"packer": f"v{oldest.group(1)}", **tags}


def known() -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """Return the tags that the list was made from, and the type of each (component or block, argument)."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    tags = dict(re.findall(r"^# hashicorp/(\S+) (v\S+)", "\n".join(lines), re.MULTILINE))
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return tags, {(where, name): kind for where, name, kind in rows}


def main(folder: Path) -> None:
    """Print the list."""
    print("# What packer/*.hcl may say: component or block, argument, type. Names and types alone, from the")
    print("# hcl2spec files of these tags (MPL-2.0; Packer BUSL-1.1), written by packer_arguments.py.")
    tags = pins()
    for repository, tag in tags.items():
        print(f"# hashicorp/{repository} {tag}")
    for component, (repository, specs) in COMPONENTS.items():
        blocks: dict[str, str] = {}
        for path in specs:
            blocks = {**sources(folder / repository, tags[repository], path), **blocks}
        for row in sorted(rows(component, "Config", blocks)):
            print(*row)
    functions = show(folder / "packer", f"{tags['packer']}:hcl2template/functions.go")
    for name in sorted(re.findall(r'^\t\t"(\w+)": ', functions, re.MULTILINE)):
        print("function", name, "function")


def sources(repository: Path, tag: str, path: str) -> dict[str, str]:
    """Return the body of each spec below a path of a tag, by its name."""
    listed = show(repository, "-r", "--name-only", tag, f"{path}/", verb="ls-tree").split()
    files = [name for name in listed if name.endswith("hcl2spec.go") and "-local/" not in name]
    return {
        found[1]: found[0] for name in files for found in SPEC.finditer(show(repository, f"{tag}:{name}"))
    }


def rows(where: str, spec: str, blocks: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return the arguments of a spec and of the blocks in it."""
    found = []
    for argument in ARGUMENT.finditer(blocks[spec]):
        name, rest = argument["name"], argument["rest"]
        if name.startswith("packer_"):
            continue  # what Packer itself hands to a component
        nested, plain = NESTED.search(rest), TYPE.search(rest)
        if argument["kind"] == "Attr" and plain:
            found.append((where, name, plain.group(1).lower()))
            continue
        found.append((where, name, "block"))
        if nested and nested.group(1) in blocks:
            found += rows(f"{where}.{name}", nested.group(1), blocks)
    return found


def show(repository: Path, *what: str, verb: str = "show") -> str:
    """Return what git says of a repository."""
    command = ["git", "-C", str(repository), verb, *what]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
