"""Environments over the simulator: one batched core, three wrappers (stable-baselines3, Gymnasium, PettingZoo)."""
