"""Everything that runs on the image runs on Python 3.10, which Ubuntu 22.04 has; the tests themselves run on any.

mypy and ruff are told so (pyproject.toml) and look at every file of it, those without a suffix too.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

pytestmark = pytest.mark.slow  # each test starts another Python

ROOT = Path(__file__).parents[2]
FETCH = ROOT / "ansible/roles/trainer/files/usr/local/bin/f1tenth-fetch"
PARAMETER = ROOT / "ansible/roles/monitoring/files/usr/local/bin/f1tenth-parameter"
FACTS = ROOT / "ansible/roles/python_env/files/image_facts.py"
# What boto3 is made of: Python alone, of any version, so one installation serves two interpreters.
BOTO3 = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six.py", "urllib3")
# Names and syntax that came with 3.11.
NEWER = {
    "a module": "import tomllib\n",
    "a name of a module": "from datetime import UTC\n",
    "another": "from enum import StrEnum\n",
    "a name of typing": "from typing import Self\n",
    "a builtin": "raise ExceptionGroup('two', [ValueError(), KeyError()])\n",
    "an argument": "import contextlib\ncontextlib.chdir('/')\n",
}


def programs() -> list[Path]:
    """Every Python file of the image and of the bake, by its suffix or its first line."""
    listed = subprocess.run(
        ["git", "ls-files", "training", "launch.py", "packer", "ansible"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    files = [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    return [path for path in files if path.suffix == ".py" or (not path.suffix and is_python(path))]


def is_python(path: Path) -> bool:
    return path.read_bytes().startswith(b"#!") and b"python" in path.read_bytes().splitlines()[0]


@pytest.fixture(scope="session")
def python310() -> str:
    """A Python 3.10 of this machine: on the path, or of pyenv. A shim that leads nowhere is none."""
    places = [Path.home() / ".pyenv", Path("/opt/pyenv"), Path(os.environ.get("PYENV_ROOT", "/none"))]
    known = [str(path) for place in places for path in sorted(place.glob("versions/3.10*/bin/python3.10"))]
    for candidate in [shutil.which("python3.10") or "", *known]:
        if (
            candidate
            and subprocess.run([candidate, "-c", ""], check=False, capture_output=True).returncode == 0
        ):
            return candidate
    pytest.skip("no Python 3.10 on this machine, neither on the path nor of pyenv")


def test_the_programs_of_the_image_are_found_by_name_and_by_first_line() -> None:
    found = set(programs())
    assert {
        FETCH,
        PARAMETER,
        FACTS,
        ROOT / "packer/ami.py",
        ROOT / "training/__main__.py",
        ROOT / "launch.py",
    } <= found


def test_every_program_is_of_the_syntax_of_python_310() -> None:
    for path in programs():
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 10))


def test_newer_syntax_would_be_seen() -> None:
    with pytest.raises(SyntaxError):
        ast.parse("try:\n    pass\nexcept* ValueError:\n    pass\n", feature_version=(3, 10))


@pytest.mark.parametrize("tool", ["ruff", "mypy"])
def test_style_and_types_look_at_every_program(tool: str) -> None:
    """As `make lint` calls them: ruff finds its files by itself, mypy is handed them."""
    if tool == "ruff":
        command = [str(Path(sys.executable).with_name("ruff")), "check", "--show-files"]
        seen = subprocess.run(
            command, cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.splitlines()
        looked_at = {Path(line) for line in seen}
    else:
        dry = subprocess.run(
            ["make", "-n", "lint"], cwd=ROOT, check=True, capture_output=True, text=True, env=plain()
        )
        (line,) = [line for line in dry.stdout.splitlines() if " -m mypy " in line]
        named = [ROOT / word for word in line.split()[3:] if not word.startswith("-")]
        looked_at = {file for path in named for file in ([path] if path.is_file() else path.rglob("*.py"))}
    assert set(programs()) - looked_at == set()


def test_a_name_that_came_later_would_be_seen(tmp_path: Path) -> None:
    """Each planted in a program of its own, under the settings of this project."""
    for number, text in enumerate(NEWER.values()):
        (tmp_path / f"planted{number}.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    planted = sorted(path.name for path in tmp_path.iterdir())
    found = subprocess.run([*command, *planted], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert {line.split(":")[0] for line in found.stdout.splitlines() if ": error:" in line} == set(planted)


def plain() -> dict[str, str]:
    """The environment less what a make that runs this test hands to its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


# --- with a real Python 3.10 ---
def test_every_program_compiles(python310: str) -> None:
    code = "import sys\nfor name in sys.argv[1:]: compile(open(name, encoding='utf-8').read(), name, 'exec')"
    subprocess.run([python310, "-W", "error", "-c", code, *map(str, programs())], check=True, timeout=120)


@pytest.fixture
def boto(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with boto3 and nothing that is compiled for another Python."""
    installed, folder = Path(sysconfig.get_path("purelib")), tmp_path / "boto3"
    folder.mkdir()
    for name in BOTO3:
        (folder / name).symlink_to(installed / name)
    return folder


@pytest.fixture
def aws(boto: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a program of the image, with an emulated AWS."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(boto),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",  # pragma: allowlist secret
    }
    server.stop()


def client(service: str, aws: dict[str, str]) -> Any:
    return boto3.client(
        service,
        endpoint_url=aws["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106 # pragma: allowlist secret
    )


def test_the_key_of_weights_and_biases_is_read(python310: str, aws: dict[str, str]) -> None:
    client("ssm", aws).put_parameter(Name="/f1tenth/key", Value="a-value", Type="SecureString")
    for name, told in (("/f1tenth/key", "a-value"), ("", "")):
        command = [python310, "-W", "error", str(PARAMETER), *([name] if name else [])]
        ended = subprocess.run(command, env=aws, check=True, capture_output=True, text=True, timeout=60)
        assert ended.stdout == told


# Runs f1tenth-fetch with other places, and writes down what systemd is asked.
DRIVER = """
import importlib.machinery, importlib.util, pathlib, sys
script, root, url = sys.argv[1:]
loader = importlib.machinery.SourceFileLoader("f1tenth_fetch", script)
fetch = importlib.util.module_from_spec(importlib.util.spec_from_loader("f1tenth_fetch", loader))
loader.exec_module(fetch)
root = pathlib.Path(root)
places = fetch.Places(root / "run", root / "home", root / "units", root / "image.json")
fetch.Places = lambda: places
fetch.systemctl = lambda *words: print("systemctl", *words)
fetch.imds = lambda path: (_ for _ in ()).throw(OSError("no metadata service here"))
sys.exit(fetch.main([url]))
"""


@pytest.mark.parametrize(("digest", "status"), [(None, 0), ("0" * 64, 65)], ids=["good", "of another digest"])
def test_a_bundle_is_fetched(
    python310: str, aws: dict[str, str], tmp_path: Path, digest: str | None, status: int
) -> None:
    requirements, packed = b"numpy==2.2.6\n", io.BytesIO()
    files = {"requirements.txt": requirements, "training/layout.py": b"IMAGE_INTERFACE = 2\n"}
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mtime = len(data), 1577836800
            archive.addfile(member, io.BytesIO(data))
    name = digest or hashlib.sha256(packed.getvalue()).hexdigest()
    s3 = client("s3", aws)
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key=f"scripts/{name}.tar.gz", Body=packed.getvalue())
    for place in ("run", "home"):
        (tmp_path / place).mkdir()
    (tmp_path / "run/run.env").write_text("F1TENTH_MAX_HOURS=3\n")
    (tmp_path / "image.json").write_text(
        json.dumps({"requirements_sha256": hashlib.sha256(requirements).hexdigest(), "interface": "2"})
    )
    command = [
        python310,
        "-W",
        "error::DeprecationWarning:f1tenth_fetch",
        "-c",
        DRIVER,
        str(FETCH),
        str(tmp_path),
    ]
    ended = subprocess.run(
        [*command, f"s3://bucket/scripts/{name}.tar.gz"],
        env=aws,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == status, ended.stderr
    assert (tmp_path / "home/app/requirements.txt").exists() == (status == 0)
    assert ("systemctl start --no-block f1tenth-training.service" in ended.stdout) == (status == 0)


def test_the_image_says_what_it_is_made_of(python310: str, tmp_path: Path) -> None:
    """Where the facts are read from lies elsewhere here; what is read is this machine's."""
    (tmp_path / "requirements.txt").write_text("numpy==2.2.6\n")
    code = FACTS.read_text(encoding="utf-8").replace(
        "/opt/f1tenth/requirements.txt", str(tmp_path / "requirements.txt")
    )
    ended = subprocess.run(
        [python310, "-W", "error", "-", "maps=none"], input=code, check=True, capture_output=True, text=True
    )
    facts = json.loads(ended.stdout)
    assert facts["python"].startswith("3.10.")
    assert facts["maps"] == "none"
    assert facts["requirements_sha256"] == hashlib.sha256(b"numpy==2.2.6\n").hexdigest()
