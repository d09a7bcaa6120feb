"""Everything that one machine needs to denoise blocks of a stack, made once.

A worker of a cluster makes it anew from the same settings; that gives the same values,
because nothing in it is left to chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_blindspot.device import pick_device
from napari_blindspot.inference.matching import series_for
from napari_blindspot.inference.predictor_student import make_predictor
from napari_blindspot.io.block_cache import block_shape
from napari_blindspot.joint import together
from napari_blindspot.measure.correction import correct
from napari_blindspot.measure.fields import noise_fields
from napari_blindspot.streaming.memory import MemoryShares, share_memory
from napari_blindspot.streaming.order import Kept
from napari_blindspot.streaming.plan import StreamPlan, plan_stream
from napari_blindspot.streaming.reading import TileReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.config import LookSettings
    from napari_blindspot.inference.predictor import Predictor
    from napari_blindspot.inference.tiles import Field, Series
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.model import Model
    from napari_blindspot.planes import PlaneSeries
    from napari_blindspot.progress import CancelToken
    from napari_blindspot.stack import Stack


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What is read, what it goes through, and the noise it has.

    Parameters
    ----------
    predictor
        Used by one thread alone.
    series
        What goes through the network one after the other.
    fields
        The noise of each.
    members
        Series of single channels, of which the output consists.
    notes
        What was found out on the way, for people.
    memory
        What each part of the run may hold.
    """

    predictor: Predictor
    series: Sequence[Series]
    fields: Sequence[Field]
    members: Sequence[PlaneSeries]
    notes: tuple[str, ...]
    memory: MemoryShares

    def plan(self) -> StreamPlan:
        """Plan the blocks by the memory of this machine."""
        voxels = self.memory.tile_voxels(self.members[0].stack.dtype.itemsize)
        return plan_stream(
            self.predictor,
            self.series[0].shape,
            len(self.series),
            tile_voxels=voxels // self.channels_together,
            kept=self._kept(),
        )

    def _kept(self) -> Kept:
        """Return what the reader keeps of a series."""
        one = self.members[0]
        unit = block_shape(one, self.memory.cache)
        size = math.prod(unit) * one.stack.dtype.itemsize * self.channels_together
        return Kept(unit, max(1, self.memory.cache // size))

    def reader(self) -> TileReader:
        """Return what reads tiles, and keeps decoded pixels for the next ones."""
        return TileReader(self.series, self.memory.cache)

    @property
    def channels_together(self) -> int:
        """Channels that are written with each block."""
        return self.predictor.model.settings.channels


def prepare_work(
    model: Model,
    stack: Stack,
    settings: LookSettings,
    camera: CameraMaps | None,
    cancel: CancelToken,
) -> Work:
    """Correct a stack, measure its noise where that is asked for, load the network.

    Parameters
    ----------
    model
        Fits the stack, and answers behind the hole that is asked for.
    stack
        As it was opened.
    settings
        Device, camera, strength.
    camera
        What `read_camera` read for these settings; None: it is read now.
    cancel
        Asked before every plane that is measured.
    """
    correction = correct(stack, settings, model.noise, camera)
    members = series_for(model, correction.stack)
    fields = noise_fields(
        members,
        model.noise,
        model.scales,
        correction,
        cancel,
        per_plane=settings.noise_per_plane,
    )
    work: tuple[Any, Any] = (members, fields)
    if model.settings.channels > 1:
        work = together(members, fields)
    device = pick_device(settings.device)
    predictor = make_predictor(model, device, settings.strength)
    memory = share_memory(settings)
    predictor.host_bytes = memory.network
    return Work(predictor, *work, members, correction.notes, memory)
