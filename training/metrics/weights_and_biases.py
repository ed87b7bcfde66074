"""Weights & Biases, by setting: the same curves on its service, or on disk to be sent later.

Attempts of one run are one run there: the id is kept in every checkpoint. The curves have an axis of their
own, `timesteps`: the service's own step only counts points and cannot go back, so points that a resumed
attempt records again would be dropped.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..config import WandbSettings

# The time that an unreachable service takes: once at the start of an attempt, in the background, and once at its end.
INIT_TIMEOUT_S = 20.0
FINISH_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 30.0
# A day of points, should the service never answer.
WAITING_POINTS = 20_000

AXIS = "timesteps"


class WeightsAndBiases:
    """One attempt's connection to a run of Weights & Biases.

    A thread of its own connects, sends and waits; training only hands over. Nothing here raises: without a key or
    a network points go to disk, and a fault later on ends the logging. Either is said once.
    """

    def __init__(  # noqa: PLR0913 - what, where, and from where on
        self,
        settings: WandbSettings,
        run: str,
        directory: Path,
        *,
        resumed_step: int,
        run_id: str | None,
        say: Callable[[str], None],
    ) -> None:
        self.id = run_id or secrets.token_hex(4)
        self._say = say
        self._given_up = False
        self._waiting: queue.Queue[Callable[[Any], object] | None] = queue.Queue(WAITING_POINTS)
        session = _Session(settings, run, self.id, directory, resumed_step, say)
        self._thread = threading.Thread(target=self._work, args=(session,), name="wandb", daemon=True)
        self._thread.start()

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each of the named curves."""
        point = {AXIS: step, **values}
        self._hand_over(lambda session: session.log(point))

    def record_hyperparameters(self, values: Mapping[str, object], final: Mapping[str, float]) -> None:
        """Set the run's settings and its results."""
        settings = dict(values)
        finite = {name: value for name, value in final.items() if math.isfinite(value)}
        self._hand_over(lambda session: session.describe(settings, finite))

    def close(self) -> None:
        """Send the remaining points, for at most CLOSE_TIMEOUT_S; points not sent by then stay on disk."""
        self._hand_over(None)
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            self._given_up = True
            self._say("Weights & Biases does not finish in time; `wandb sync` sends what is left.")

    def _hand_over(self, work: Callable[[Any], object] | None) -> None:
        if self._thread.is_alive():
            try:
                self._waiting.put_nowait(work)
            except queue.Full:
                return  # a service that has not answered for a day gets no more

    def _work(self, session: _Session) -> None:
        try:
            session.start()
            while (work := self._waiting.get()) is not None:
                work(session)
            session.finish()
        except Exception as error:  # noqa: BLE001 - whatever a service for curves does, training continues
            if not self._given_up:
                self._say(f"Weights & Biases fails ({_first_line(error)}). Training continues without it.")
            session.abandon()


class _Session:
    """The thread's work; every method may raise whatever the package raises."""

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self,
        settings: WandbSettings,
        name: str,
        run_id: str,
        directory: Path,
        resumed_step: int,
        say: Callable[[str], None],
    ) -> None:
        self._settings, self._name, self._id, self._directory = settings, name, run_id, directory
        self._resumed_step, self._say = resumed_step, say
        self._next_index: int | None = None
        self._run: Any = None

    def start(self) -> None:
        import wandb  # noqa: PLC0415 - slow, only by setting

        mode = self._settings.mode
        self._set_up(wandb)
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            self._say_kept("has no API key (set WANDB_API_KEY or run `wandb login`)")
            mode = "offline"
        try:
            self._run = self._connect(wandb, mode)
        except wandb.Error as error:
            if mode == "offline":
                raise
            self._say_kept(f"does not answer ({_first_line(error)})")
            wandb.teardown()  # its process holds the id for the attempt that failed
            self._set_up(wandb)
            mode = "offline"
            self._run = self._connect(wandb, mode)
        self._run.define_metric(AXIS)
        self._run.define_metric("*", step_metric=AXIS)
        if mode == "offline" and self._resumed_step > 0:
            # Offline the number of points that earlier attempts logged is unknown; it never exceeds the timesteps.
            self._next_index = self._resumed_step

    def log(self, point: Mapping[str, float]) -> None:
        index, self._next_index = self._next_index, None
        self._run.log(dict(point), step=index, commit=True)

    def describe(self, settings: Mapping[str, object], final: Mapping[str, float]) -> None:
        self._run.config.update(dict(settings), allow_val_change=True)
        self._run.summary.update(dict(final))

    def finish(self) -> None:
        self._run.finish()

    def abandon(self) -> None:
        """Release the package's process, dead or alive, so that nothing waits for it at exit."""
        with contextlib.suppress(Exception):
            import wandb  # noqa: PLC0415 - slow, only by setting

            wandb.teardown()

    def _set_up(self, wandb: Any) -> None:  # noqa: ANN401 - the module
        wandb.setup(settings=self._quiet(wandb))
        # On a full disk each line of the package's own log would end as a traceback on the terminal.
        logging.getLogger("wandb").setLevel(logging.CRITICAL)

    def _connect(self, wandb: Any, mode: str) -> Any:  # noqa: ANN401 - the module; its runs are untyped inside
        self._directory.mkdir(parents=True, exist_ok=True)  # else the package moves to the temporary files
        return wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            name=self._name,
            id=self._id,
            resume="allow",
            mode=mode,
            dir=str(self._directory),
            settings=self._quiet(wandb),
        )

    def _quiet(self, wandb: Any) -> Any:  # noqa: ANN401 - the module, and its settings
        """Return settings that leave the terminal, the repository and the machine's figures to us."""
        return wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_stats=True,
            x_save_requirements=False,
            init_timeout=INIT_TIMEOUT_S,
            finish_timeout=FINISH_TIMEOUT_S,
        )

    def _say_kept(self, why: str) -> None:
        folder = self._directory / "wandb"
        then = f"points are kept in {folder}, `wandb sync` sends them later"
        self._say(f"Weights & Biases {why}. Training continues; {then}.")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
