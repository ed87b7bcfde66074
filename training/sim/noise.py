"""Counter-based random numbers: a value is a hash of where it is used, so no order of threads can change it.

SplitMix64's output function (Steele, Lea, Flood 2014, https://doi.org/10.1145/2660193.2660195) over a key chained from
environment seed, episode, car and physics step. Nothing but those counters has to be saved for an exact resume.
"""

from __future__ import annotations

import math

import numpy as np

from .array_types import EitherFloats, Floats
from .compiled import inner, inner_ieee

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_LOW32 = np.uint64(0xFFFFFFFF)
_LOW16 = np.uint64(0xFFFF)
_S16, _S27, _S30, _S31, _S32, _S48 = (np.uint64(bits) for bits in (16, 27, 30, 31, 32, 48))
_SCALE = 1.0 / 4294967296.0


@inner
def chain(key: np.uint64, value: int) -> np.uint64:
    """Return a new key from a key and one more counter."""
    # The product spreads neighbouring keys: 5 ^ 1 and 6 ^ 2 are equal, their noise must not be.
    z = (key * _GOLDEN) ^ np.uint64(value)
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


@inner
def uniform(key: np.uint64, low: float, high: float) -> float:
    """Return a number in [low, high) that the key determines."""
    return low + (high - low) * (np.float64(chain(key, 0) >> _S32) * _SCALE)


@inner
def add_gaussian(key: np.uint64, deviation: float, values: Floats) -> None:
    """Add normal noise of a standard deviation to every value, two from a hash (Box-Muller)."""
    n = values.size
    for i in range(0, n, 2):
        bits = chain(key, i + 1)
        radius = math.sqrt(-2.0 * math.log((np.float64(bits >> _S32) + 1.0) * _SCALE))
        angle = 2.0 * math.pi * _SCALE * np.float64(bits & _LOW32)
        values[i] += deviation * radius * math.cos(angle)
        if i + 1 < n:
            values[i + 1] += deviation * radius * math.sin(angle)


@inner_ieee
def disturb(
    key: np.uint64, bias: float, deviation: float, share: float, farthest: float, values: EitherFloats
) -> None:
    """Add a bias and noise to values and keep them within 0 and the farthest; set a share of them to the farthest.

    One hash for each value: three of its quarters add up to noise of deviation 1, which is within 0.02 of the normal
    distribution and at most 3; the fourth decides. The loop has no branch, so that values are taken eight abreast.
    """
    begin = key * _GOLDEN
    lost = np.uint64(share * 65536.0)
    scale = 2.0 * deviation / 65536.0
    middle = bias - 3.0 * deviation
    for i in range(values.size):
        z = begin ^ np.uint64(i)
        z = (z ^ (z >> _S30)) * _M1
        z = (z ^ (z >> _S27)) * _M2
        z ^= z >> _S31
        total = (z & _LOW16) + ((z >> _S16) & _LOW16) + ((z >> _S32) & _LOW16)
        value = min(max(values[i] + middle + scale * np.float64(total), 0.0), farthest)
        values[i] = farthest if (z >> _S48) < lost else value
