"""How much memory a network may take, and how a full one is told."""

from __future__ import annotations

import psutil
import torch

_CPU_SHARE = 0.25  # of the free host memory
_GPU_SHARE = 0.5  # of the free device memory


def free_bytes(device: torch.device, host_bytes: int | None) -> float:
    """Return the bytes that activations may take.

    Parameters
    ----------
    device
        Where the network runs.
    host_bytes
        What was promised to it on a CPU; None: a quarter of what is free.
    """
    if device.type == "cuda":
        return _GPU_SHARE * float(torch.cuda.mem_get_info(device)[0])
    if host_bytes is not None:
        return float(host_bytes)
    return _CPU_SHARE * float(psutil.virtual_memory().available)


def is_out_of_memory(error: Exception) -> bool:
    """Tell a full memory, of a GPU or of the host, from other errors of torch."""
    full = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return full or "can't allocate memory" in str(error)
