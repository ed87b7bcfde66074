"""The learners: soft actor-critic on stable-baselines3, its replay buffer and its fast update."""
