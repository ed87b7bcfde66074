"""Import f1tenth_gym together with the image's gymnasium, let check_env look at it, and drive a little.

The track is a circle made here, because a named track is downloaded when the image lacks it.
"""

from __future__ import annotations

import warnings

import f1tenth_gym  # noqa: F401  registers the environment
import gymnasium
import numpy as np
from f1tenth_gym.envs.track import Track
from gymnasium.utils.env_checker import check_env

STEPS = 20

angle = np.linspace(0.0, 2.0 * np.pi, 100, endpoint=False)  # the spline closes it
circle = Track.from_refline(x=10.0 * np.cos(angle), y=10.0 * np.sin(angle), velx=np.ones_like(angle))
config = {"map": circle, "num_agents": 1, "observation_config": {"type": "kinematic_state"}}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    env = gymnasium.make("f1tenth-v0", config=config)
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=0)
    for _ in range(STEPS):
        env.step(np.array([[0.0, 1.0]], dtype=np.float32))
print(f"f1tenth_gym works with gymnasium {gymnasium.__version__}")
