"""The cache of the drivers' kernels: a directory for every version of their sources and of the simulator's.

Kernels here call functions of other files, which numba's own cache does not look at (training.sim.compiled).
"""

from __future__ import annotations

from pathlib import Path

from ... import sim
from ...sim.compiled import jit_variants

_SOURCES = (
    *sorted(Path(sim.__file__).parent.rglob("*.py")),
    *sorted(Path(__file__).parent.glob("*.py")),
)
_declare = jit_variants("drivers", _SOURCES)
kernel = _declare()
parallel_kernel = _declare(parallel=True)
# Functions that only borrow arrays; the second divides by zero as numpy does (training.sim.compiled).
inner = _declare(_nrt=False)
inner_ieee = _declare(_nrt=False, error_model="numpy")
