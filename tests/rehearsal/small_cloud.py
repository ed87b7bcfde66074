"""The small cloud: network, moto, seaweedfs behind its gateway, machines; and a laptop that uses it."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import boto3
import yaml
from moto.moto_api import recorder as moto_recorder
from moto.moto_server import werkzeug_app
from moto.server import ThreadedMotoServer

from tests.cloud.fake_aws import REGION, ROOT, Account
from tests.rehearsal import machine as machines
from tests.rehearsal import network
from tests.rehearsal.ec2 import Ec2
from tests.rehearsal.gateway import Gateway
from tests.support import emulator, servers

PROJECT = "rehearsal"
COMMAND_S = (
    1_200.0  # the longest that a command of the launcher may take: the launch follows to the first step
)


class SmallCloud(NamedTuple):
    """Everything that a rehearsal plays with."""

    folder: Path  # where all that is said is kept
    net: network.Network
    account: Account
    ec2: Ec2
    s3: Gateway
    key: Path  # SSH key of the laptop

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Write the laptop's config.yaml: these settings, and where this cloud is."""
        mine = self.account.settings
        text = yaml.safe_dump({**settings, "aws": {**mine["aws"], **settings.get("aws", {})}})
        (self.account.folder / "config.yaml").write_text(text, encoding="utf-8")

    def client(self, service: str) -> Any:
        """Return a boto3 client of the emulator, for what a user does with other tools than ours."""
        return boto3.client(
            service,
            endpoint_url=self.account.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 # pragma: allowlist secret
        )


class Launcher:
    """./launch.py as a user runs it; what it says is kept and passed on."""

    def __init__(self, cloud: SmallCloud, hear: Callable[[str], None] = lambda _: None) -> None:
        self._account, self._hear = cloud.account, hear
        self._log = cloud.folder / "launcher.log"

    def __call__(self, *arguments: str, expect: int | None = 0, quiet: bool = False) -> str:
        """Run a command to its end and return all that it said; AssertionError where it ends otherwise."""
        process = self.start(*arguments)
        text = self.finish(process, quiet=quiet)
        status = process.returncode
        assert expect is None or status == expect, (
            f"./launch.py {' '.join(arguments)} ended with {status}:\n{text}"
        )
        return text

    def finish(self, process: subprocess.Popen[str], *, quiet: bool = False) -> str:
        """Hear what a started command says until it ends, and return it."""
        said = []
        assert process.stdout is not None
        watchdog = threading.Timer(COMMAND_S, process.kill)
        watchdog.daemon = True
        watchdog.start()
        for line in process.stdout:
            said.append(line)
            self._keep(line)
            if not quiet:
                self._hear(line.rstrip())
        watchdog.cancel()
        self._keep(f"(exit code {process.wait()})\n")
        return "".join(said)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command; whoever starts it reads its output and waits."""
        self._keep(f"$ ./launch.py {' '.join(arguments)}\n")
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, str(ROOT / "launch.py"), *arguments],
            cwd=self._account.folder,
            env={**self._account.environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _keep(self, text: str) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(text)


@contextlib.contextmanager
def small_cloud(image: str, folder: Path, say: Callable[[str], None]) -> Iterator[SmallCloud]:
    """Start the cloud for a `with` block and leave nothing behind: neither process, container nor namespace."""
    remove_leftovers()
    with contextlib.ExitStack() as stack:
        # Ours look into the store as the launcher does; the user's own credentials stay out of it.
        ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        record = {"MOTO_RECORDER_FILEPATH": str(folder / "aws-requests.jsonl")}
        stack.enter_context(
            mock.patch.dict(os.environ, {**ours, **servers.CREDENTIALS, **record}, clear=True)
        )
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="f1tenth-rehearsal-")))
        for name in ("laptop", "weed"):
            (scratch / name).mkdir()
        # Both take their time to start; the first to be needed is the other.
        weed = _Later(functools.partial(servers.weed, scratch / "weed"), stack)
        net = stack.enter_context(network.network())
        key = _ssh_key(scratch)
        # moto tells of every request, and by a traceback of a service that it does not know, such as prices.
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        werkzeug_app.print = lambda *_: None  # type: ignore[attr-defined]
        emulator.complete()
        moto = ThreadedMotoServer(ip_address=net.address, port=0, verbose=False)
        moto.start()
        stack.callback(moto.stop)
        moto_recorder._location = str(
            folder / "aws-requests.jsonl"
        )  # read from the environment at import only
        moto_recorder.start_recording()
        stack.callback(moto_recorder.stop_recording)
        endpoint = f"http://{net.address}:{moto.get_host_and_port()[1]}"
        s3 = stack.enter_context(
            Gateway((net.address, 0), weed.result().removeprefix("http://"), folder / "s3.log")
        )
        account = Account(endpoint, PROJECT, scratch / "laptop", s3.url)
        public = key.with_suffix(".pub").read_text(encoding="utf-8").strip()
        ec2 = stack.enter_context(Ec2(net, folder, image=image, public_key=public, say=say))
        yield SmallCloud(folder, net, account, ec2, s3, key)


def remove_leftovers(of: Callable[[str], bool] | None = None) -> list[str]:
    """Remove what rehearsals left behind, by default those that were killed; those that live keep theirs."""
    removable = of or _of_the_dead
    gone = []
    for name in machines.containers():
        if removable(name):
            machines.podman("rm", "--force", "--time", "0", name, check=False)
            gone.append(name)
    for name in network.namespaces():
        if removable(name):
            network.delete_namespace(name)
            gone.append(name)
    for name in network.bridges():
        if removable(name):
            network.ip("link", "delete", name, check=False)
            gone.append(name)
    return gone


def leftovers() -> list[str]:
    """Return what this process still has, containers, namespaces, bridges, and remove it."""
    return remove_leftovers(lambda name: network.owner_pid(name) == os.getpid())


class _Later:
    """Enter a context manager in the background; `result` waits for it, the stack's end leaves it.

    One thread from beginning to end: a server started with --pdeathsig ends with the thread that started it.
    """

    def __init__(self, make: Callable[[], Any], stack: contextlib.ExitStack) -> None:
        self._make = make
        self._value: Any = None
        self._error: BaseException | None = None
        self._entered, self._leaving = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self._thread.start()
        stack.callback(self._leave)

    def _hold(self) -> None:
        try:
            with self._make() as self._value:
                self._entered.set()
                self._leaving.wait()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        finally:
            self._entered.set()

    def result(self) -> Any:
        self._entered.wait()
        if self._error is not None:
            raise self._error
        return self._value

    def _leave(self) -> None:
        self._leaving.set()
        self._thread.join()


def _of_the_dead(name: str) -> bool:
    pid = network.owner_pid(name)
    return pid is not None and not Path(f"/proc/{pid}").exists()


def _ssh_key(folder: Path) -> Path:
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return key
