"""Environments over the simulator: one batched core, and wrappers for stable-baselines3, Gymnasium and PettingZoo."""

from .registration import register

register()
