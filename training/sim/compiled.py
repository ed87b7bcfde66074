"""Where compiled kernels are kept: a directory of its own for every version of the simulator's sources.

Numba's cache looks at the source file of a kernel, not at the files of the kernels that it calls: after a change of
dynamics.py alone, kernels.py would go on with the old physics. A directory named by the hash of all sources cannot.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numba

_HERE = Path(__file__).resolve().parent


def _hash_of_sources() -> str:
    digest = hashlib.sha256()
    for source in sorted(_HERE.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def directory() -> Path:
    """Return the cache directory: below NUMBA_CACHE_DIR, or .cache/numba of the repository."""
    base = Path(numba.config.CACHE_DIR or _HERE.parents[1] / ".cache" / "numba")
    return base / f"sim-{_hash_of_sources()}"


# Read by numba whenever a function is declared with cache=True.
numba.config.CACHE_DIR = str(directory())

# Every kernel of the simulator is declared with one of these, so that this module is imported first.
kernel = numba.njit(cache=True)
parallel_kernel = numba.njit(cache=True, parallel=True)
# What runs inside a step. Numba counts the references of every array that it hands to a function or cuts a row from,
# by an atomic addition that both cores fight over: hundreds for one car's step, more than its arithmetic. These
# functions only borrow arrays from their callers, so nothing is counted; in return they cannot allocate or return any.
inner = numba.njit(cache=True, _nrt=False)
# The same, dividing by zero as numpy does: to infinity, so that a loop has no branch.
inner_ieee = numba.njit(cache=True, _nrt=False, error_model="numpy")
