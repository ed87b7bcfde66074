"""The types of the arrays that kernels read and write; what their axes are is said where they are named."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
# Ranges of beams and cells of distance fields are of single or of double precision, as the profile says.
EitherFloats = NDArray[np.floating[Any]]
# Which cells are occupied says a distance field, or the map itself: 0 where one is.
Cells = NDArray[np.floating[Any]] | NDArray[np.uint8]
