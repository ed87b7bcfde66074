"""A saved state, and its arrays as bytes and back: safetensors, byte-shuffled and compressed, no executable code.

The header names types and shapes; a reader says what it expects and how large it may be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import safetensors.numpy
import zstandard

from ..errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

LEVEL = 1  # 600 to 950 MB/s a core; higher levels save little on floats
MAX_BYTES = 4 << 30


class SavedState(NamedTuple):
    """What a part of a run puts into a checkpoint: arrays by name, and JSON data."""

    arrays: Mapping[str, NDArray[Any]]
    meta: Mapping[str, Any]


def encode(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as one compressed blob: first bytes of all numbers together, then second bytes, and so on."""
    shuffled = {name: _shuffle(np.asarray(array)) for name, array in arrays.items()}
    return zstandard.ZstdCompressor(level=LEVEL).compress(safetensors.numpy.save(shuffled))


def decode(data: bytes, *, what: str, max_bytes: int = MAX_BYTES) -> dict[str, NDArray[Any]]:
    """Return the arrays of a blob.

    Raises DataError if it is not one, or would unpack to more than max_bytes.
    """
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= max_bytes:
            msg = f"{what} would unpack to {size} bytes, at most {max_bytes} are allowed"
            raise DataError(
                msg, next_step="The file is damaged or not ours; resume an older step with --at STEP."
            )
        packed = zstandard.ZstdDecompressor().decompress(data, max_output_size=max_bytes)
        return {name: _unshuffle(array) for name, array in safetensors.numpy.load(packed).items()}
    except (zstandard.ZstdError, safetensors.SafetensorError, ValueError, KeyError) as error:
        msg = f"{what} is not readable: {error}"
        raise DataError(msg, next_step="The file is damaged; resume an older step with --at STEP.") from error


def copy_into(target: NDArray[Any], given: Mapping[str, NDArray[Any]], name: str, *, what: str) -> None:
    """Copy array `name` over a target of the same type and shape; raise DataError if they differ."""
    array = given.get(name)
    if array is None or array.dtype != target.dtype or array.shape != target.shape:
        found = "missing" if array is None else f"{array.dtype} {array.shape}"
        msg = f"{what}: array {name!r} is {found}, expected {target.dtype} {target.shape}"
        raise DataError(
            msg, next_step="It was saved with other settings; resume with the run's own config.json."
        )
    target[...] = array


def _shuffle(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array with the same type and shape, its bytes ordered by significance."""
    width = array.dtype.itemsize
    if width == 1 or array.size == 0:
        return np.array(array, order="C")
    planes = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, width).T
    return np.ascontiguousarray(planes).reshape(-1).view(array.dtype).reshape(array.shape)


def _unshuffle(array: NDArray[Any]) -> NDArray[Any]:
    width = array.dtype.itemsize
    if width == 1 or array.size == 0:
        return array
    planes = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(width, -1).T
    return np.ascontiguousarray(planes).reshape(-1).view(array.dtype).reshape(array.shape)
