"""A run that is asked to stop, by a signal, a notice or a laptop: it saves, says how to go on, and the store knows."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.fake_imds import FakeImds
from tests.support.trainer_process import begin_and_wait, command, run, wait_for_checkpoints
from training.evaluation.load_run import runs_in
from training.instance.imds import ENDPOINT_VARIABLE, ON_INSTANCE
from training.run.stop_request import CONTROL_POLL_S
from training.store import documents
from training.store.checkpoint import load
from training.store.open import open_store

pytestmark = pytest.mark.slow  # each test trains, in a process of its own

ROOT = Path(__file__).parents[1]
REBALANCE = "meta-data/events/recommendations/rebalance"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path, number):
    """Exit 75 with a message that names the command; the next run starts at the very step."""
    process = begin_and_wait(tmp_path, steps=400_000)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert "--resume" in output
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    saved = load(storage, name, "sac").step
    (attempt,) = documents.read_attempts(storage, name)
    assert (attempt.cause, attempt.last_step) == ("terminated", saved)
    again = run(tmp_path, "--resume", name, steps=saved)
    assert f"continues from step {saved:,}" in again.stdout
    assert again.returncode == 0


def test_a_terminal_that_is_closed_saves_the_run(tmp_path):
    """As the window, or the ssh session, that a run was started in: SIGHUP, and from then on no output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *command(tmp_path, steps=10**9)], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    storage = open_store(str(tmp_path))
    wait_for_checkpoints(storage, process, 2)
    os.close(ours)
    assert process.wait(timeout=120) == 75
    (name,) = runs_in(storage)
    (attempt,) = documents.read_attempts(storage, name)
    assert (attempt.cause, attempt.exit_code) == ("terminated", 75)
    assert load(storage, name, "sac").step == attempt.last_step


def test_ctrl_c_before_the_first_step_is_no_fault_and_the_same_command_goes_on(tmp_path):
    """With nothing compiled yet, as on a fresh machine: the compiler makes errors of its own out of a Ctrl-C."""
    process = subprocess.Popen(
        command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "numba")},
    )  # fmt: skip
    assert "begins" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 75, output
    assert "stopped by Ctrl-C before the first step; nothing is lost\nContinue with: " in output
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    (attempt,) = documents.read_attempts(storage, name)
    assert (attempt.cause, attempt.exit_code) == ("terminated", 75)
    assert run(tmp_path).returncode == 0
    assert runs_in(storage) == [name]


def test_a_second_ctrl_c_ends_at_once_and_says_which_checkpoint_is_the_newest(tmp_path):
    """While the end of the first one's save waits for a file that never comes: a pipe stands in its place."""
    process = begin_and_wait(tmp_path, steps=10**9)
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    attempts, whole = tmp_path / "runs" / name / "attempts.json", tmp_path / "whole"
    process.send_signal(signal.SIGSTOP)
    attempts.rename(whole)
    os.mkfifo(attempts)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    writer = once_somebody_reads(attempts)
    # A busy computer may let the saving thread read first: two signals before the first one is heard would be one.
    heard = until_it_says(process, "Ctrl-C: saving")
    whole.rename(attempts)
    process.send_signal(signal.SIGINT)
    os.close(writer)
    rest, _ = process.communicate(timeout=120)
    output = heard + rest
    assert process.returncode == 75, f"exit {process.returncode}: {output[-600:]!r}"
    step = load(storage, name, "sac").step
    assert (
        f"stopped at once by a second Ctrl-C; the newest checkpoint is that of step {step:,}\nContinue"
        in output
    )
    assert "Traceback" not in output
    (attempt,) = documents.read_attempts(storage, name)
    assert (attempt.cause, attempt.exit_code) == ("terminated", 75)


def test_a_second_ctrl_c_that_falls_into_an_exec_leaves_the_exit_code(tmp_path):
    """Python would else end the process by SIGINT."""
    (tmp_path / "program.py").write_text(
        "import sys; from training.run import runner; from training.__main__ import main\n"
        "runner.learn = lambda setup: exec('raise KeyboardInterrupt')\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    python = [sys.executable, "-m", "program"]  # a plain file's exit code is not touched
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    ended = subprocess.run(
        [*python, *command(tmp_path)[3:]], capture_output=True, text=True, timeout=240, check=False, env=paths
    )
    assert ended.returncode == 75, ended.stderr[-600:]
    assert "stopped at once by a second Ctrl-C" in ended.stdout + ended.stderr


def until_it_says(process: subprocess.Popen[str], words: str) -> str:
    """Return what a process has printed, as soon as a line has these words."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if words in line:
            break
    return "".join(lines)


def once_somebody_reads(pipe: Path) -> int:
    """Return a writer of a named pipe, as soon as it has a reader."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            time.sleep(0.05)  # polling a process, bounded by the deadline above
    pytest.fail("nobody reads")


def test_a_laptop_can_ask_for_a_stop(tmp_path):
    """control.json ends the run after a save; status.json says stopped."""
    process = begin_and_wait(tmp_path, steps=400_000)
    storage = open_store(str(tmp_path))
    (name,) = runs_in(storage)
    documents.request(storage, name, "stop_now", by="test")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert documents.read_status(storage, name).state == "stopped"


def test_a_notice_that_comes_before_the_checkpoint_that_was_to_be_the_last_ends_the_run(tmp_path):
    """Asked to end at its next checkpoint, a run does so at the notice's: no other machine need be brought."""
    never = ("--set", "training.save_frequency=100000000")
    process = subprocess.Popen(
        command(tmp_path, *never, steps=10**9), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    storage = open_store(str(tmp_path))
    wait_for_checkpoints(storage, process, 1)  # that of the first step
    (name,) = runs_in(storage)
    documents.request(storage, name, "stop_after_checkpoint", by="test")
    time.sleep(CONTROL_POLL_S + 1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert documents.read_status(storage, name).state == "stopped"
    assert documents.read_attempts(storage, name)[-1].cause == "stopped"


def test_a_rebalance_saves_and_goes_on_until_a_laptop_asks_for_an_end_after_a_save(tmp_path, monkeypatch):
    """As on a machine: the recommendation brings a checkpoint out of turn, systemd hears of life, then it stops."""
    settings = ("--set", "training.save_frequency=100000000")
    storage = open_store(str(tmp_path / "store"))
    with FakeImds() as server, Systemd(tmp_path / "systemd") as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
        monkeypatch.setenv(ON_INSTANCE, "1")
        monkeypatch.setenv(ENDPOINT_VARIABLE, server.url)
        process = subprocess.Popen(
            command(tmp_path / "store", *settings, steps=10**9),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for_checkpoints(storage, process, 1)  # that of the first step
        server.paths[REBALANCE] = '{"noticeTime": "2026-11-26T11:00:00Z"}'
        wait_for_checkpoints(storage, process, 2)
        (name,) = runs_in(storage)
        documents.request(storage, name, "stop_after_checkpoint", by="test")
        time.sleep(CONTROL_POLL_S + 1)
        assert process.poll() is None, "it waits for a checkpoint that is due"
        server.paths[REBALANCE] = '{"noticeTime": "2026-11-26T12:00:00Z"}'
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert "rebalance notice at 11:00:00 UTC" in output
    assert documents.read_status(storage, name).state == "stopped"
    assert systemd.heard[0] == "READY=1"
    # The last pieces of work, a slow save among them, say only that they are alive.
    alive, status = [one for one in systemd.heard if "STATUS=" in one][-1].split("\n")
    assert alive == "WATCHDOG=1"
    assert re.fullmatch(r"STATUS=step [\d,]+, \d+ steps/s, kept none yet", status)


class Systemd:
    """What a service manager hears at NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.address, self.heard = str(path), []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self):
        self._listener.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self.address)
        self._listener.join()
        self._socket.close()

    def _listen(self) -> None:
        while message := self._socket.recv(4096):
            self.heard.append(message.decode())
