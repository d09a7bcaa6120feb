"""Random numbers that belong to a place: the same for a tile and for the whole plane.

A generator draws in the order in which it is asked, so the tiles of a plane would see
other numbers than the plane. These are a hash of the seed and of the position, worked
out in 32 bits on the device itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B  # of the hash "lowbias32"


def uniform(keys: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return numbers in [0, 1) for every key, row and column.

    Parameters
    ----------
    keys
        (N,) int64, from `key`.
    rows, columns
        (Y,) and (X,) int64, not below 0.

    Returns
    -------
    Tensor
        (N, Y, X) float32.
    """
    by_row = _mixed(keys[:, None] ^ _mixed(rows + _GOLDEN)[None])
    bits = _mixed(by_row[:, :, None] ^ (columns + 2 * _GOLDEN)[None, None])
    return (bits >> 8).float() * 2.0**-24


def key(seed: int, *numbers: Tensor | int, device: torch.device) -> Tensor:
    """Return a key of some numbers, an int64 scalar or what they broadcast to."""
    mixed = torch.tensor(seed & _WORD, device=device)
    mixed = _mixed(mixed ^ ((seed >> 32) & _WORD))
    for number in numbers:
        mixed = _mixed((mixed + _GOLDEN) ^ torch.as_tensor(number, device=device))
    return mixed


def _mixed(x: Tensor) -> Tensor:
    """Scramble 32-bit integers; the product may wrap, its low word is right."""
    x = x & _WORD
    x = ((x ^ (x >> 16)) * _FIRST) & _WORD
    x = ((x ^ (x >> 15)) * _SECOND) & _WORD
    return x ^ (x >> 16)
