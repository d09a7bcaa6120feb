"""Where half precision pays, and where it must not be used.

On a GPU the convolutions run in bfloat16; float16 overflows at camera-like noise. On
a CPU bfloat16 did not pay in training (measured). What likelihood and posterior are
made of is always float32: half precision loses the small variances.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def half_where_it_pays(device: torch.device) -> AbstractContextManager[object]:
    """Run what follows in bfloat16 on an NVIDIA GPU, as it is elsewhere."""
    if device.type != "cuda":
        return nullcontext()
    return torch.autocast("cuda", torch.bfloat16)


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Leave half precision for what follows."""
    if x.device.type not in ("cuda", "cpu"):
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
