"""The cache of compiled kernels: a separate directory for every version of the simulator's sources.

Numba's cache looks at the source file of a kernel, not at the files of the kernels that it calls: after a change of
dynamics.py alone, kernels.py would still use the old physics. A directory named by the hash of all sources prevents
that.

A cache only saves time. Files that cannot be written or read, or are damaged, are compiled again: numba itself would
end the program, or run half a function.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numba
from numba.core.caching import FunctionCache

from .track.catalog import user_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Function = TypeVar("Function", bound=Callable[..., Any])

_DIGEST_BYTES = hashlib.sha256().digest_size
_HERE = Path(__file__).resolve().parent
# With the folder track/: kernels here call some of its functions.
_SOURCES = tuple(sorted(_HERE.rglob("*.py")))


def _base() -> Path:
    """Return where caches are kept: NUMBA_CACHE_DIR, .cache/numba of a checkout, or the user's cache of a wheel."""
    if numba.config.CACHE_DIR:  # before _keep sets it
        return Path(numba.config.CACHE_DIR)
    is_checkout = (_HERE.parents[1] / "launch.py").exists()
    return (_HERE.parents[1] / ".cache" if is_checkout else user_cache()) / "numba"


_BASE = _base()


def directory(name: str = "sim", sources: Iterable[Path] = _SOURCES) -> Path:
    """Return the cache directory of kernels, whose name has a hash of their sources."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    return _BASE / f"{name}-{digest.hexdigest()[:12]}"


class _Files:
    """One file for each compiled function and signature: a digest, and what numba wants to keep.

    Numba's own pair of files, an index and the code that it numbers, can be damaged, and two processes that compile at
    once can give one number to two functions.
    """

    def __init__(self, folder: str, name: str, source_stamp: object) -> None:
        self._folder, self._name, self._stamp = Path(folder), name, source_stamp

    def save(self, key: object, data: object) -> None:
        """Keep the code of a signature; a reader sees all of it or nothing."""
        content = pickle.dumps((numba.__version__, self._stamp, data), protocol=pickle.HIGHEST_PROTOCOL)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=f"{self._name}.", delete=False) as file:
            try:
                file.write(hashlib.sha256(content).digest() + content)
                file.close()
                Path(file.name).replace(self._path(key))
                _log(f"data saved to {self._path(key)}")
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def load(self, key: object) -> Any:  # noqa: ANN401 - numba's own
        """Return the code of a signature, None if there is none that is complete and of this version."""
        try:
            stored = self._path(key).read_bytes()
        except OSError:
            return None
        digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            return None
        # Written by `save`, in a directory where anyone with write access could change the program as well.
        try:
            version, stamp, data = pickle.loads(content)  # noqa: S301
        except (AttributeError, ImportError):  # of a class that has another name or place by now
            return None
        if (version, stamp) != (numba.__version__, self._stamp):
            return None
        _log(f"data loaded from {self._path(key)}")
        return data

    def _path(self, key: object) -> Path:
        # The key holds the signature, the processor and a hash of the function's bytecode; all print what they are.
        return self._folder / f"{self._name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.nbc"


def _log(what: str) -> None:
    """Print numba's messages if NUMBA_DEBUG_CACHE asks for it; the image's own check reads it."""
    if numba.config.DEBUG_CACHE:
        sys.stdout.write(f"[cache] {what}\n")


class _Cache(FunctionCache):
    """Code that cannot be kept, on a full disk, is compiled again next time; numba would let the run end for it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, stamp)

    def save_overload(self, sig: object, data: object) -> None:
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def jit_variants(name: str, sources: Iterable[Path]) -> Callable[..., Callable[[Function], Function]]:
    """Return numba.njit with a cache of its own for every version of these sources."""
    kept_in = str(directory(name, sources))

    def declare(**options: bool | str) -> Callable[[Function], Function]:
        def decorate(function: Function) -> Function:
            # Numba's dispatcher, which has no type; it is called as the function is.
            compiled: Function = numba.njit(**options)(function)
            if not numba.config.DISABLE_JIT:
                _keep(compiled, function, kept_in)
            return compiled

        return decorate

    return declare


def _keep(compiled: Any, function: Callable[..., Any], folder: str) -> None:  # noqa: ANN401 - numba's dispatcher
    """Give a function its cache in a folder, or none if the folder cannot be made.

    A place of numba's own choice would not change with the sources.
    """
    numba.config.CACHE_DIR = folder  # read by numba whenever it looks for the place of a cache
    try:
        cache = _Cache(function)
    except RuntimeError:  # no place at all
        return
    if Path(cache.cache_path).is_relative_to(folder):
        compiled._cache = cache  # noqa: SLF001 - numba takes no other


_declare = jit_variants("sim", _SOURCES)
# Every kernel of the simulator is declared with one of these, so that this module is imported first.
kernel = _declare()
parallel_kernel = _declare(parallel=True)
# Functions inside a step. Numba counts the references of every array that it hands to a function or cuts a row from,
# by an atomic addition that both cores fight over: hundreds for one car's step, more than its arithmetic. These
# functions only borrow arrays from their callers, so nothing is counted; in return they cannot allocate or return any.
inner = _declare(_nrt=False)
# The same, dividing by zero as numpy does: to infinity, so that a loop has no branch.
inner_ieee = _declare(_nrt=False, error_model="numpy")
# Those also become part of their caller, whatever their size: the order of a step, which hands some sixty arrays to
# every function, and chains of short functions of scalars, which hand on tuples. Passed through memory these took a
# quarter of a step's time (docs/notes/performance.md). The compiler takes an eighth longer for it.
inlined = _declare(_nrt=False, error_model="numpy", forceinline=True)
