"""Try what the trainer needs and what it must not be able to do; the names of the errors are the answer."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import socket
import stat
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CLONE_NEWUSER = 0x10000000
LIBC = ctypes.CDLL(None, use_errno=True)


def everything() -> dict[str, str]:
    """Return for each attempt "ok" or the name of its error."""
    attempts: dict[str, Callable[[], object]] = {
        "open the GPU": lambda: os.open("/dev/nvidia0", os.O_RDWR),
        "open the GPU's memory": lambda: os.open("/dev/nvidia-uvm", os.O_RDWR),
        "start a thread": start_thread,
        "pin itself to a core": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
        "map compiled code": lambda: mmap.mmap(
            -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        ),
        "share memory": lambda: Path("/dev/shm/probe").write_bytes(b""),
        "write its state": lambda: Path("/var/lib/f1tenth/probe").touch(),
        "write its cache": lambda: Path("/var/cache/f1tenth/probe").touch(),
        "write its outcome": lambda: Path("/run/f1tenth/probe").touch(),
        "write to /tmp": lambda: Path(tempfile.gettempdir(), "probe").touch(),
        "write its code": lambda: Path("/opt/f1tenth/app/probe").touch(),
        "look into /root": lambda: list(Path("/root").iterdir()),
        "write to /home": lambda: Path("/home", "probe").touch(),
        "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
        "set the name of the host": lambda: socket.sethostname("probe"),
        "make a user namespace": lambda: of_libc("unshare", CLONE_NEWUSER),
        "make a raw packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "make a set-user-ID file": make_set_user_id,
        "run in real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
        "read the kernel's log": lambda: of_libc("klogctl", 3, None, 0),
        "trace process 1": lambda: os.kill(1, signal.SIGCONT),
        "mount": lambda: of_libc("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    }
    answers = {what: attempt_of(attempt) for what, attempt in attempts.items()}
    status = dict(
        line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )
    root_owns = [entry.stat().st_uid == 0 for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    key = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent"), "wandb_api_key")
    readable = attempt_of(key.read_bytes)
    return answers | {
        "capabilities": status["CapEff"] + status["CapBnd"],
        "no new privileges": status["NoNewPrivs"],
        "seccomp": status["Seccomp"],
        "processes of root": str(sum(root_owns)),
        "key": repr(key.read_text(encoding="utf-8").strip()) if readable == "ok" else readable,
    }


def attempt_of(attempt: Callable[[], object]) -> str:
    """Return "ok" or the name of the error."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def start_thread() -> None:
    """Start one and wait for it; a refusal of the system call is an OSError."""
    thread = threading.Thread(target=time.time)
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, "no thread") from error
    thread.join()


def make_set_user_id() -> None:
    """Give a file in the state the bit."""
    path = Path("/var/lib/f1tenth/probe")
    path.touch()
    path.chmod(stat.S_ISUID | stat.S_IRWXU)


def of_libc(name: str, *arguments: object) -> None:
    """Call a function of libc; a refusal is an OSError."""
    if getattr(LIBC, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)
