"""The memory that a run promises to keep to, and what it is spent on.

::

    promised ─ what the program itself holds ─ slack = the rest
    the rest ─► network 60 %  │  tiles in flight 25 %  │  decoded pixels kept 15 %

The network's part sets the size of a tile, the tiles' part its planes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from napari_blindspot.config import DeviceSettings

_SHARE = 0.25  # of the free memory, where nothing is said
_NETWORK, _TILES, _CACHE = 0.6, 0.25, 0.15
_SLACK = 256 * 2**20  # what the codecs, the files and the allocator hold
_LEAST = 160 * 2**20
_LARGEST_CACHE = 2**30
_IN_FLIGHT = 4  # tiles that are read ahead, being read, or at work
_WRITTEN = 4  # results that are made, waiting or being written


@dataclass(frozen=True, slots=True)
class MemoryShares:
    """Bytes of host memory for each part of a run.

    Parameters
    ----------
    network
        Activations, on a CPU.
    tiles
        Pixels that are read, denoised or waiting to be written.
    cache
        Decoded pixels of the source that the next tiles will want again.
    """

    network: int
    tiles: int
    cache: int

    def tile_voxels(self, itemsize: int) -> int:
        """Return how many voxels a tile may have, its halo included.

        Parameters
        ----------
        itemsize
            Bytes per voxel of the source.
        """
        # Read twice over while chunks are put together; as float32 and a mask twice,
        # before and after normalisation; mean and standard deviation in float32.
        bytes_each = itemsize * (_IN_FLIGHT + 1) + 2 * 5 + 2 * 4 * _WRITTEN
        return max(1, self.tiles // bytes_each)


def share_memory(settings: DeviceSettings) -> MemoryShares:
    """Share out the memory that a run may take.

    Parameters
    ----------
    settings
        Their ``memory``: the most that the whole program may hold. Without it the run
        takes a quarter of what is free on top of what the program holds now.

    Raises
    ------
    InputError
        If the promise cannot be kept: the program itself needs nearly as much.
    """
    held = int(psutil.Process().memory_info().rss)
    promised = settings.memory_bytes
    if promised is None:
        rest = int(_SHARE * psutil.virtual_memory().available)
    else:
        rest = promised - held - _SLACK
        if rest < _LEAST:
            least = (held + _SLACK + _LEAST) / 1e9
            raise InputError(
                f"memory={settings.memory!r} is too little: the program itself holds "
                f"{held / 1e9:.2g} GB already; give at least {least:.2g}GB, or leave "
                f"memory out to let it take a quarter of what is free."
            )
    rest = max(rest, _LEAST)
    return MemoryShares(
        int(_NETWORK * rest),
        int(_TILES * rest),
        min(int(_CACHE * rest), _LARGEST_CACHE),
    )
