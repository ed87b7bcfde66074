"""How much grip the recorded laps use: accelerations against what the tyres of a car hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..sim.dynamics import GRAVITY_MPS2
from ..sim.params import SLIP, SPEED, YAW
from .tables import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..config import EnvSettings
    from ..evaluation.recording import Trace

# A lateral acceleration that lasts this long is that of a corner, not of a wheel that is turned to and fro.
SETTLED_S = 0.2
# Of the limit. On tyres that slip every force is inside the ellipse, and rounding is far below this.
TOLERANCE = 1e-3
# Of the time: a lap with less of it beyond the limit needs little other driving.
MOMENTS = 0.02


class GripUse(NamedTuple):
    """The accelerations of a recorded drive in the car's axes, a physics step each, and the limit; all in g."""

    along_g: NDArray[np.float64]  # (n,) forwards; braking is negative
    across_g: NDArray[np.float64]  # (n,) to the left
    limit_g: float  # friction coefficient of vehicle and episode: no tyre gives more
    settled_g: float  # the largest lateral acceleration to one side that lasted SETTLED_S

    @property
    def beyond(self) -> NDArray[np.bool_]:
        """Tell, (n,), in which steps the car accelerates by more than its tyres hold."""
        return np.hypot(self.along_g, self.across_g) > self.limit_g * (1.0 + TOLERANCE)

    @property
    def share_beyond(self) -> float:
        """Give the share of the time beyond the limit, 0 to 1."""
        return float(self.beyond.mean()) if len(self.along_g) else 0.0

    @property
    def drivable(self) -> bool:
        """Tell whether the tyres hold in every settled corner, and but for moments everywhere else."""
        return self.settled_g <= self.limit_g * (1.0 + TOLERANCE) and self.share_beyond <= MOMENTS


def grip_use(trace: Trace) -> GripUse:
    """Return what a recorded drive asks of the tyres.

    An acceleration is the change of velocity over one physics step, in the axes of the car half-way through it. The
    step in which a car touches a wall, where the simulator stops it, does not count.
    """
    states = trace.states[:-1] if trace.collided else trace.states
    course = states[:, YAW] + states[:, SLIP]
    velocity = states[:, SPEED, None] * np.stack([np.cos(course), np.sin(course)], axis=1)
    change = np.diff(velocity, axis=0) / trace.step_s / GRAVITY_MPS2
    heading = np.stack([np.cos(states[:, YAW]), np.sin(states[:, YAW])], axis=1)
    middle = heading[1:] + heading[:-1]
    cos, sin = (middle / np.linalg.norm(middle, axis=1, keepdims=True)).T
    across_g = change[:, 1] * cos - change[:, 0] * sin
    return GripUse(
        along_g=change[:, 0] * cos + change[:, 1] * sin,
        across_g=across_g,
        limit_g=trace.grip_mps2 / GRAVITY_MPS2,
        settled_g=_settled(across_g, max(1, round(SETTLED_S / trace.step_s))),
    )


class Reach(NamedTuple):
    """The largest accelerations of some drives, in g; none is negative."""

    across_g: float
    forward_g: float
    braking_g: float


def common_reach(uses: Sequence[GripUse]) -> Reach:
    """Return what pictures of one scale must show of all these drives."""
    found = [
        (np.abs(use.across_g).max(), use.along_g.max(), -use.along_g.min())
        for use in uses
        if len(use.along_g)
    ]
    return Reach(*np.max([(0.0, 0.0, 0.0), *found], axis=0).tolist())


def _settled(values: NDArray[np.float64], rows: int) -> float:
    """Return the largest magnitude that the values (n,) keep to one side over this many rows; 0 for fewer rows."""
    if len(values) < rows:
        return 0.0
    windows = np.lib.stride_tricks.sliding_window_view(values, rows)
    return float(max(windows.min(axis=1).max(), (-windows).min(axis=1).max(), 0.0))


def described_use(use: GripUse) -> str:
    """Say in a line how a drive uses its tyres."""
    return (
        f"{percent(use.share_beyond)} of the time beyond the limit of {use.limit_g:.2f} g; largest settled lateral "
        f"acceleration {use.settled_g:.2f} g"
    )


def verdict(uses: Sequence[GripUse], settings: EnvSettings) -> tuple[bool, str]:
    """Return whether the tyres hold on every recorded lap, and what that means, in words."""
    if not uses:
        return True, ""
    worst = max(uses, key=lambda use: use.settled_g / use.limit_g)
    most = percent(max(use.share_beyond for use in uses))
    if not all(use.drivable for use in uses):
        return False, (
            f"A real car could not be driven like this. The policy corners at up to {worst.settled_g:.1f} g, where the "
            f"tyres hold {worst.limit_g:.2f} g, and asks for more than they hold for up to {most} of a lap. "
            f"{_cause(settings)} Next step: train with {_next_settings(settings)}."
        )
    corners = f"{worst.settled_g:.2f} g of {worst.limit_g:.2f} g"
    if any(use.share_beyond for use in uses):
        return True, (
            f"Settled corners stay within the tyres' grip, at up to {corners}. The policy asks for more than the tyres "
            f"hold for moments only, {most} of a lap at most. {_cause(settings)}"
        )
    return (
        True,
        f"The recorded drives stay within the tyres' grip at every moment: settled corners at up to {corners}.",
    )


def _cause(settings: EnvSettings) -> str:
    if settings.tyres == "lateral_circle":
        return "env.tyres is lateral_circle: of the tyres' forces only the lateral ones end at the friction circle."
    if settings.tyres == "saturating":
        return "env.tyres is saturating: no force of a tyre passes the limit."
    return "env.tyres is linear: a tyre's force grows with its slip without end, as in f1tenth_gym."


def _next_settings(settings: EnvSettings) -> str:
    """Return the settings of tyres that slip, and of what they need where this run has something else."""
    wanted = {"env.tyres": "saturating"}
    if settings.profile != "training":
        wanted["env.profile"] = "training"
    if settings.backend != "native":
        wanted["env.backend"] = "native"
    return ", ".join(f"{key} = {value}" for key, value in wanted.items())
