"""An environment with the constructor and the shapes of f1tenth_gym's."""

import gymnasium as gym
import numpy as np


class F110Env(gym.Env):
    """Keep the car where it is."""

    metadata = {"render_modes": []}

    def __init__(self, config=None, render_mode=None):
        self.render_mode = render_mode
        self.track = config["map"]
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1, 2), np.float32)
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)

    def reset(self, seed=None, options=None):
        """Return the observation of a car at rest."""
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

    def step(self, action):
        """Return the same again."""
        return np.zeros(3, np.float32), 0.0, False, False, {}
