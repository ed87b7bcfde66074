"""Where compiled kernels are kept: a directory of its own for every version of the simulator's sources.

Numba's cache looks at the source file of a kernel, not at the files of the kernels that it calls: after a change of
dynamics.py alone, kernels.py would go on with the old physics. A directory named by the hash of all sources cannot.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
from numba.core.caching import FunctionCache

if TYPE_CHECKING:
    from collections.abc import Callable

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


class _Cache(FunctionCache):
    """Code that cannot be kept, on a full disk, is compiled again next time; numba would let the run end for it."""

    def save_overload(self, sig: object, data: object) -> None:
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def _declare(**options: bool | str) -> Callable[[Callable[..., Any]], Any]:
    def decorate(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - numba's dispatcher, which has no type
        compiled = numba.njit(cache=True, **options)(function)
        if not numba.config.DISABLE_JIT:
            compiled._cache = _Cache(function)  # noqa: SLF001 - numba takes no other
        return compiled

    return decorate


# Every kernel of the simulator is declared with one of these, so that this module is imported first.
kernel = _declare()
parallel_kernel = _declare(parallel=True)
# What runs inside a step. Numba counts the references of every array that it hands to a function or cuts a row from,
# by an atomic addition that both cores fight over: hundreds for one car's step, more than its arithmetic. These
# functions only borrow arrays from their callers, so nothing is counted; in return they cannot allocate or return any.
inner = _declare(_nrt=False)
# The same, dividing by zero as numpy does: to infinity, so that a loop has no branch.
inner_ieee = _declare(_nrt=False, error_model="numpy")
