"""The simulators that races run on: ours, and the f1tenth_gym package behind the same surface (`env.backend`)."""

from __future__ import annotations

from typing import TypeAlias

from ..sim import World
from .f1tenth_gym.gym_world import F1TenthGymWorld

AnyWorld: TypeAlias = World | F1TenthGymWorld
