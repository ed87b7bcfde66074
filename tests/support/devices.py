"""Where a test runs: on the processor, and on a GPU where there is one."""

from __future__ import annotations

import pytest
import torch

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA finds no device here")
ON_GPU = [pytest.mark.gpu, NO_GPU]
DEVICES = ["cpu", pytest.param("cuda", marks=ON_GPU)]
