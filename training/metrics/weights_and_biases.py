"""Weights & Biases, by setting: the same curves on its service, or on disk to be sent later.

Attempts of one run are one run there: the id is kept in every checkpoint. The curves have an axis of their
own, `timesteps`: the service's own step only counts points and cannot go back, so points that a resumed
attempt records again would be dropped.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb

    from training.config import WandbSettings

# The most that an unreachable service costs: once at the start of an attempt, once at its end.
INIT_TIMEOUT_S = 20.0
FINISH_TIMEOUT_S = 20.0

AXIS = "timesteps"


class WeightsAndBiases:
    """One attempt's connection to a run of Weights & Biases.

    Nothing here raises: without a key or a network points go to disk, and a fault later on ends the logging.
    Either is said once.
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
        self._settings, self._name, self._directory, self._say = settings, run, directory, say
        self._next_index: int | None = None
        self._run: wandb.Run | None = None
        self._guarded(lambda: self._start(resumed_step))

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each of the named curves."""
        run = self._run
        if run is not None:
            index, self._next_index = self._next_index, None
            self._guarded(lambda: run.log({AXIS: step, **values}, step=index, commit=True))

    def record_hyperparameters(self, values: Mapping[str, object], final: Mapping[str, float]) -> None:
        """Set the run's settings, and what they led to."""
        run = self._run
        if run is not None:
            finite = {name: value for name, value in final.items() if math.isfinite(value)}
            self._guarded(lambda: run.config.update(dict(values), allow_val_change=True))
            self._guarded(lambda: run.summary.update(finite))

    def close(self) -> None:
        """Send what is left, for at most FINISH_TIMEOUT_S; what then remains stays on disk."""
        if self._run is not None:
            self._guarded(self._run.finish)
            self._run = None

    def _start(self, resumed_step: int) -> None:
        import wandb  # noqa: PLC0415 - slow, only by setting

        wandb.setup(settings=self._quiet(wandb))
        mode = self._settings.mode
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            self._say_kept("has no API key (set WANDB_API_KEY or run `wandb login`)")
            mode = "offline"
        try:
            self._run = self._connect(wandb, mode)
        except wandb.Error as error:
            if mode == "offline":
                raise
            self._say_kept(f"does not answer ({_first_line(error)})")
            mode = "offline"
            self._run = self._connect(wandb, mode)
        self._run.define_metric(AXIS)
        self._run.define_metric("*", step_metric=AXIS)
        if mode == "offline" and resumed_step > 0:
            # Offline nobody knows how many points the earlier attempts logged; never more than timesteps.
            self._next_index = resumed_step

    def _connect(self, wandb_: Any, mode: str) -> wandb.Run:  # noqa: ANN401 - the module
        return wandb_.init(
            project=self._settings.project,
            entity=self._settings.entity,
            name=self._name,
            id=self.id,
            resume="allow",
            mode=mode,
            dir=str(self._directory),
            settings=self._quiet(wandb_),
        )

    def _quiet(self, wandb_: Any) -> Any:  # noqa: ANN401 - its settings
        """Return settings that leave the terminal, the repository and the machine's figures to us."""
        return wandb_.Settings(
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
        self._say(f"Weights & Biases {why}. Training goes on; {then}.")

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever a service for curves does, training goes on
            self._run = None
            self._say(f"Weights & Biases fails ({_first_line(error)}). Training goes on without it.")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
