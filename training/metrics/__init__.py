"""The figures of a run over its timesteps: TensorBoard always; Weights & Biases and CloudWatch by setting.

Nothing here stops a run: a full disk, a missing key, a service that does not answer is reported once.
"""

from .metrics import Metrics

__all__ = ["Metrics"]
