"""Laps under randomisation: how often the kept policy completes them where car and sensors are drawn at each start."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..config.randomisation import RandomisationSettings, randomisation_of
from .baselines import drive, tally

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..config import EnvSettings, EvaluationSettings
    from ..config.randomisation import Preset
    from .baselines import EvalTrack, Tally
    from .lap_evaluation import Controller

UNDISTURBED, AS_TRAINED = "undisturbed", "as trained"
PRESETS_SHOWN: tuple[Preset, ...] = ("mild", "robust")


class ConditionResult(NamedTuple):
    """The drives of one policy under one condition: a tally for each track."""

    name: str  # "undisturbed", "as trained", or a preset's name
    drawn: RandomisationSettings
    courses: tuple[EvalTrack, ...]
    tallies: tuple[Tally, ...]  # of each course

    @property
    def completed(self) -> int:
        """Give the completed drives on all tracks."""
        return sum(one.completed for one in self.tallies)

    @property
    def starts(self) -> int:
        """Give the drives on all tracks."""
        return sum(one.starts for one in self.tallies)


def conditions_of(env: EnvSettings) -> dict[str, RandomisationSettings]:
    """Return the conditions under which a report drives the kept policy of a run, by their names in its table.

    env: of the run. As it was trained, if that was with randomisation or noise; under the presets, if its simulator
    knows them all; none if nothing but the undisturbed car remains, whose laps are in the table of laps.
    """
    plain, trained = RandomisationSettings(), trained_under(env)
    found = {UNDISTURBED: plain}
    if env.profile == "training" and env.backend == "native":
        found |= {preset: randomisation_of(preset) for preset in PRESETS_SHOWN}
    same = next((name for name, drawn in found.items() if ranges(drawn) == ranges(trained)), None)
    if same is None:
        found = {UNDISTURBED: plain, AS_TRAINED: trained, **found}
    elif same != UNDISTURBED:
        found = {f"{name}, {AS_TRAINED}" if name == same else name: drawn for name, drawn in found.items()}
    return found if len(found) > 1 else {}


def trained_under(env: EnvSettings) -> RandomisationSettings:
    """Return what a run draws in training, the lidar's usual noise among the ranges."""
    drawn = env.randomisation
    noise_m = tuple(
        env.scan_noise_m * factor + more
        for factor, more in zip(drawn.scan_noise_factor, drawn.scan_noise_m, strict=True)
    )
    return drawn.model_copy(update={"scan_noise_m": noise_m, "scan_noise_factor": (1.0, 1.0)})


def ranges(drawn: RandomisationSettings) -> dict[str, object]:
    """Return the ranges that draw something, by their settings' names."""
    none = RandomisationSettings()
    return {name: span for name, span in drawn if name != "preset" and span != getattr(none, name)}


def completion_under(
    conditions: Mapping[str, RandomisationSettings],
    controller: Controller,
    env: EnvSettings,
    evaluation: EvaluationSettings,
    courses: Sequence[EvalTrack],
) -> list[ConditionResult]:
    """Drive a policy under each condition on every track; conditions: what is drawn, by their names.

    The starts are the same under each, those of the report's laps; each start draws its own car.
    """
    found = []
    for name, drawn in conditions.items():
        tallies = []
        for course in courses:
            starts, laps = evaluation.starts, evaluation.laps
            _, drives = drive(controller, env, course, starts=starts, laps=laps, randomisation=drawn)
            tallies.append(tally(drives))
        found.append(ConditionResult(name, drawn, tuple(courses), tuple(tallies)))
    return found
