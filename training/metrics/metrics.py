"""One place to hand figures to; it passes them on to every place that shows them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from .cloudwatch import CloudWatch
from .event_file import EventFile
from .system import SystemUse
from .weights_and_biases import WeightsAndBiases

if TYPE_CHECKING:
    import torch

# Settings of where a run happens and where it is watched: they are no hyper-parameters, and no service needs them.
NO_HYPERPARAMETERS = ("aws", "wandb", "tensorboard", "cloudwatch")


class Metrics:
    """Record the figures of one attempt; the curves continue those of the attempts before.

    directory: where event files go. resumed_step: the timestep of the checkpoint that this attempt resumes from; points
    that a lost attempt recorded after it vanish from the curves. wandb_id: as the checkpoint says, so that Weights &
    Biases continues the same run. say: called with one line, from any thread.
    """

    def __init__(  # noqa: PLR0913 - what, where, and from where on
        self,
        config: Config,
        run: str,
        directory: Path,
        *,
        resumed_step: int = 0,
        wandb_id: str | None = None,
        say: Callable[[str], None],
    ) -> None:
        self._config, self._run, self._say = config, run, say
        self._last_step = resumed_step
        # The step of the checkpoint itself is done; the steps after it are repeated.
        self._events = EventFile(directory, first_step=resumed_step + 1 if resumed_step else 0)
        self._disk = _Disk(self._events.path, say)
        self._system = SystemUse(directory)
        self._cloudwatch = (
            CloudWatch(config.cloudwatch, config.aws, run, say) if config.cloudwatch.enabled else None
        )
        self._wandb: WeightsAndBiases | None = None
        if config.wandb.mode != "disabled":
            self._wandb = WeightsAndBiases(
                config.wandb, run, directory, resumed_step=resumed_step, run_id=wandb_id, say=say
            )
        # Not cleared while Weights & Biases is switched off, so that switching it on again finds the same run.
        self.wandb_id: str | None = wandb_id if self._wandb is None else self._wandb.id
        self._hyperparameters: dict[str, bool | float | str] = {}
        self.record_hyperparameters(config.to_json_dict(), {})

    @property
    def event_file(self) -> Path:
        """Return the file that grows during this attempt, so that callers can copy it elsewhere."""
        return self._events.path

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point at a timestep to each of the named curves; values that are not finite are left out."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        if not finite:
            return
        self._last_step = step
        self._disk.write(lambda: self._events.add_scalars(step, finite))
        if self._wandb is not None:
            self._wandb.record(step, finite)
        if self._cloudwatch is not None:
            self._cloudwatch.record(finite)

    def record_hyperparameters(self, flat: Mapping[str, object], final: Mapping[str, float]) -> None:
        """Record settings (nested ones are flattened), and figures that they led to.

        The run's own settings are recorded from the start; at its end call this with the final figures.
        """
        values = {
            name: value
            for name, value in _flattened(flat).items()
            if name.split(".")[0] not in NO_HYPERPARAMETERS
        }
        if values != self._hyperparameters and values:
            self._hyperparameters = values
            self._disk.write(lambda: self._events.add_hyperparameters(self._run, values))
        if self._wandb is not None:
            self._wandb.record_hyperparameters(values, final)
        self.record(self._last_step, final)

    def record_graph(self, actor: torch.nn.Module, critic: torch.nn.Module, observation_width: int) -> None:
        """Record the graph of stable-baselines3's actor and critics, unless the settings say no."""
        if not self._config.tensorboard.graph:
            return
        from .graph import actor_critic_graph  # noqa: PLC0415 - torch, only where asked for

        graph = actor_critic_graph(actor, critic, observation_width)
        self._disk.write(lambda: self._events.add_graph(graph))

    def sample_system(self) -> dict[str, float]:
        """Return the use of CPU, memory, disk and, where there is one, GPU, by the names of their curves."""
        return self._system.sample()

    def flush(self) -> None:
        """Flush the recorded points to the disk."""
        self._disk.write(self._events.sync)

    def close(self) -> None:
        """Flush and close all writers; takes at most about 25 s if a service does not answer."""
        self._disk.write(self._events.sync)
        self._disk.write(self._events.close)
        if self._cloudwatch is not None:
            self._cloudwatch.close()
        if self._wandb is not None:
            self._wandb.close()
        self._system.close()


class _Disk:
    """Let a full or broken disk lose points, but not the run; say so once, and once when it is over."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._lost = 0
        self._said = False

    def write(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            if not self._said:
                self._say(f"No curves are written to {self._path}: {error.strerror}. Training continues.")
            self._said = True
            self._lost += 1
            return
        if self._lost:
            self._say(f"Curves are written again; {self._lost} points are missing.")
            self._lost = 0


def _flattened(values: Mapping[str, object], prefix: str = "") -> dict[str, bool | float | str]:
    """Return nested settings by their dotted names; what is neither number nor text becomes text."""
    result: dict[str, bool | float | str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result.update(_flattened(value, f"{prefix}{key}."))
        else:
            result[prefix + key] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return result
