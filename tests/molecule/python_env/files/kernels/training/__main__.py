"""Compile the kernel by calling it, as the simulator's warm-up does."""

from __future__ import annotations

from training.kernel import twice

print(twice(21.0))
