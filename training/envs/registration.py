"""The ids of `gymnasium.make`: F1Tenth-v0, one car alone, and F1TenthRace-v0, one car against drivers.

`import f1tenth_training` registers them, or `gymnasium.make("f1tenth_training:F1Tenth-v0")`. In a checkout it is
`gymnasium.make("training.envs:F1Tenth-v0")`: the launcher and the store import `training` without Gymnasium.
"""

from __future__ import annotations

from gymnasium.envs import registration

_PACKAGE = __name__.rpartition(".")[0]
IDS = {
    "F1Tenth-v0": {},
    "F1TenthRace-v0": {"opponents": ("follow_the_gap",)},
}


def register() -> None:
    """Register the ids; where a wheel and a checkout are both at hand, the one that was imported last has them."""
    for name, options in IDS.items():
        registration.registry.pop(name, None)
        registration.register(
            id=name,
            entry_point=f"{_PACKAGE}.race_env:RaceEnv",
            vector_entry_point=f"{_PACKAGE}.vector_env:RaceVectorEnv",
            kwargs=options,
        )
