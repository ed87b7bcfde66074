"""Train, watch and race F1TENTH cars; `python -m training --help` lists the commands."""

import importlib
import os

# A thread that waits for another spins, which is right for some 100 µs. GNU's OpenMP continues for milliseconds; where
# another process wants a core too, that burns the time which the awaited thread needs: updates took ten times as long.
# The library reads this when it is loaded, with torch or at numba's first parallel kernel.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if __name__ != "training":  # a wheel's package: it registers the environments, as Gymnasium's users expect
    importlib.import_module(".envs", __name__)
