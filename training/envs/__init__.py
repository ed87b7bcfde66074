"""Environments over the simulator: one batched core, three faces (stable-baselines3, Gymnasium, PettingZoo)."""
