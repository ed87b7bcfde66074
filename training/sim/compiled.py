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
    from collections.abc import Callable, Iterable

_HERE = Path(__file__).resolve().parent
# As the user set it, or numba found it, before we point it elsewhere.
_BASE = Path(numba.config.CACHE_DIR or _HERE.parents[1] / ".cache" / "numba")


def directory(name: str = "sim", sources: Iterable[Path] = tuple(sorted(_HERE.glob("*.py")))) -> Path:
    """Return the cache directory of kernels: below NUMBA_CACHE_DIR, or .cache/numba of the repository."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    return _BASE / f"{name}-{digest.hexdigest()[:12]}"


class _Cache(FunctionCache):
    """Code that cannot be kept, on a full disk, is compiled again next time; numba would let the run end for it."""

    def save_overload(self, sig: object, data: object) -> None:
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def declaring(name: str, sources: Iterable[Path]) -> Callable[..., Callable[[Callable[..., Any]], Any]]:
    """Return numba.njit with a cache of its own for every version of these sources."""
    kept_in = str(directory(name, sources))

    def declare(**options: bool | str) -> Callable[[Callable[..., Any]], Any]:
        def decorate(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - numba's dispatcher, which has no type
            numba.config.CACHE_DIR = kept_in  # read by numba whenever a function is declared with cache=True
            compiled = numba.njit(cache=True, **options)(function)
            if not numba.config.DISABLE_JIT:
                compiled._cache = _Cache(function)  # noqa: SLF001 - numba takes no other
            return compiled

        return decorate

    return declare


_declare = declaring("sim", sorted(_HERE.glob("*.py")))
# Every kernel of the simulator is declared with one of these, so that this module is imported first.
kernel = _declare()
parallel_kernel = _declare(parallel=True)
# What runs inside a step. Numba counts the references of every array that it hands to a function or cuts a row from,
# by an atomic addition that both cores fight over: hundreds for one car's step, more than its arithmetic. These
# functions only borrow arrays from their callers, so nothing is counted; in return they cannot allocate or return any.
inner = _declare(_nrt=False)
# The same, dividing by zero as numpy does: to infinity, so that a loop has no branch.
inner_ieee = _declare(_nrt=False, error_model="numpy")
