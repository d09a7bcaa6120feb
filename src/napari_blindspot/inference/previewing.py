"""A denoised part of one plane, at once: the fast preview.

Only what is asked for is read, with the halo that makes it exact, so that a preview
shows the very values of a full run. A `Previewer` is made once for a model and a stack
and then answers request after request; it belongs to one thread.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.device import pick_device
from napari_blindspot.errors import InputError
from napari_blindspot.inference.grey_scale import is_of_others, refuse_other_scale
from napari_blindspot.inference.matching import match_channels, series_for
from napari_blindspot.inference.places import Place as Place
from napari_blindspot.inference.predictor_student import make_predictor
from napari_blindspot.inference.tiles import block_shape, predict_tile
from napari_blindspot.io.region import parse_region
from napari_blindspot.joint import JointSeries, together
from napari_blindspot.measure.correction import correct
from napari_blindspot.measure.fields import noise_fields
from napari_blindspot.progress import CancelToken, run
from napari_blindspot.tiling import plan_region

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from napari_blindspot.config import LookSettings
    from napari_blindspot.inference.predictor import Predictor
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.model import Model
    from napari_blindspot.stack import Stack
    from napari_blindspot.tiling import Tile


def place_of(stack: Stack, region: str | Mapping[str, slice | int] | None) -> Place:
    """Turn a region into a part of one plane.

    Parameters
    ----------
    stack
        What is previewed.
    region
        As of `open_stack`; an axis that is not named is in the middle (Z, T), first
        (C) or whole (Y, X).

    Raises
    ------
    InputError
        If it names more than one plane.
    """
    sizes = stack.sizes
    found = parse_region(region, stack) if region else {}
    starts = {"C": 0, "T": sizes["T"] // 2, "Z": sizes["Z"] // 2}
    for axis in starts:
        part = found.get(axis)
        if part is None:
            continue
        if (count := part.stop - part.start) != 1:
            raise InputError(
                f"region={region!r} holds {count} planes along {axis}, but a preview "
                f"shows one; give one index, e.g. {axis.lower()}={part.start}."
            )
        starts[axis] = part.start
    y, x = (found.get(axis, slice(0, sizes[axis])) for axis in "YX")
    return Place(starts["C"], starts["T"], starts["Z"], y, x)


class Previewer:
    """Denoises parts of planes on request.

    Parameters
    ----------
    model
        Teacher or student.
    stack
        Read lazily, piece by piece.
    settings
        Device, and what is known of the camera's pixels.
    camera
        What `read_camera` read for this stack; default: it is read now.
    cancel
        Asked before every plane whose noise is measured (``noise_per_plane``).

    Raises
    ------
    InputError
        If the model does not fit the stack.
    Cancelled
        If `cancel` was used.
    """

    def __init__(
        self,
        model: Model,
        stack: Stack,
        settings: LookSettings,
        *,
        camera: CameraMaps | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        model = match_channels(model, stack)
        correction = correct(stack, settings, model.noise, camera)
        series = series_for(model, correction.stack)
        fields = noise_fields(
            series,
            model.noise,
            model.scales,
            correction,
            cancel or CancelToken(),
            per_plane=settings.noise_per_plane,
        )
        work: Any = zip(series, fields, strict=True)
        if model.settings.channels > 1:
            work = zip(*together(series, fields), strict=True)
        self.stack = stack
        self.model = model
        self._settings = settings
        self._predictor = _predictor(model, settings)
        self._work = {(one.channel, _fixed(one)): (one, field) for one, field in work}
        self._axis = series[0].axis
        of_others = is_of_others(model, stack)
        # Channels whose grey values are to be looked at when they are first read.
        self._unknown = set(range(stack.sizes["C"])) if of_others else set()

    def with_model(self, model: Model) -> Previewer:
        """Return the same for another state of the model, e.g. later in its training.

        What was read for this one serves again, unless the other knows another noise,
        other scales or other neighbours. `model` is copied to the device, as at first.

        Raises
        ------
        InputError
            If the model does not fit the stack.
        """
        model = match_channels(model, self.stack)
        if _reading(model) != _reading(self.model):
            return Previewer(model, self.stack, self._settings)
        other = copy(self)
        other.model = model
        other._predictor = _predictor(model, self._settings)  # noqa: SLF001 its own
        return other

    def __call__(
        self, place: Place, cancel: CancelToken | None = None
    ) -> NDArray[np.float32]:
        """Return a part of a plane denoised, (rows, columns) float32, data units.

        Raises
        ------
        InputError
            If the place lies outside of the stack, or the model was trained on another
            scale of grey values.
        Cancelled
            If `cancel` was used.
        """
        self._check(place)
        cancel = cancel or CancelToken()
        whole = np.empty(place.shape, np.float32)
        for part in self._fitting(place):
            rows = slice(part.y.start - place.y.start, part.y.stop - place.y.start)
            columns = slice(part.x.start - place.x.start, part.x.stop - place.x.start)
            whole[rows, columns] = self._denoised(part, cancel)
        return whole

    def _denoised(self, place: Place, cancel: CancelToken) -> NDArray[np.float32]:
        """Denoise what fits into memory at once."""
        cancel.raise_if_cancelled()  # before anything is read
        series, field, own = self._found(place)
        tile = self._tile(series.shape, own, place)
        planes = series.read(tile.planes.read, tile.y.read, tile.x.read)
        self._check_grey_scale(place.channel, planes[own - tile.planes.read.start])
        cancel.raise_if_cancelled()
        job = predict_tile(self._predictor, series, tile, planes, cancel, field=field)
        mean, _ = run(job)
        joint = self.model.settings.channels > 1
        found: NDArray[np.float32] = mean[0, place.channel] if joint else mean[0]
        return found

    def _check_grey_scale(self, channel: int, plane: NDArray[Any]) -> None:
        """Look at the first plane of a channel that is read, and at nothing more."""
        if channel in self._unknown:
            one = plane[channel] if plane.ndim == 3 else plane  # all of them together
            refuse_other_scale(self.model, channel, one, self.stack.name)
            self._unknown.discard(channel)

    def _fitting(self, place: Place) -> list[Place]:
        """Cut a place where it does not fit into memory as a whole."""
        block = block_shape(
            (1, *place.shape),
            halo=self._predictor.halo,
            stride=self._predictor.stride,
            max_pixels=self._predictor.max_pixels(),
        )
        return [place] if block[1:] == place.shape else place.pieces(max(block[1:]))

    def pieces(
        self, place: Place, cancel: CancelToken
    ) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """Return a part of a plane piece by piece, from its middle outwards."""
        for piece in place.pieces():
            cancel.raise_if_cancelled()
            yield piece, self(piece, cancel)

    def noisy(self, place: Place) -> NDArray[np.float32]:
        """Return a part of a plane as it was before, (rows, columns), data units.

        What the camera added is taken off, as it is of the denoised one: a blend of
        both is what a full run gives with a lower strength.

        Raises
        ------
        InputError
            If the place lies outside of the stack.
        """
        series, _, own = self._found(place)
        if isinstance(series, JointSeries):
            series = series.members[place.channel]
        (plane,) = series.read(slice(own, own + 1), place.y, place.x)
        return np.ascontiguousarray(plane, dtype=np.float32)

    def _found(self, place: Place) -> tuple[Any, Any, int]:
        """Return the series that holds a place, its noise, and which of its planes."""
        self._check(place)
        own, other = (place.z, place.t) if self._axis == "Z" else (place.t, place.z)
        joint = self.model.settings.channels > 1
        return *self._work[0 if joint else place.channel, other], own

    def _tile(self, shape: tuple[int, int, int], plane: int, place: Place) -> Tile:
        needs = self._predictor
        return plan_region(
            shape,
            (
                (plane, plane + 1),
                (place.y.start, place.y.stop),
                (place.x.start, place.x.stop),
            ),
            halo=(needs.context, needs.halo, needs.halo),
            stride=(1, needs.stride, needs.stride),
        )

    def _check(self, place: Place) -> None:
        sizes = self.stack.sizes
        inside = all(
            0 <= index < sizes[axis]
            for axis, index in (("C", place.channel), ("T", place.t), ("Z", place.z))
        ) and all(
            0 <= part.start < part.stop <= sizes[axis]
            for axis, part in (("Y", place.y), ("X", place.x))
        )
        if not inside:
            raise InputError(
                f"{place} lies outside of the stack ({self.stack.axes}, shape "
                f"{self.stack.shape}); choose a plane and a region inside."
            )


def _predictor(model: Model, settings: LookSettings) -> Predictor:
    return make_predictor(model, pick_device(settings.device), settings.strength)


def _reading(model: Model) -> tuple[object, ...]:
    """Return what of a model decides about how a stack is read and measured."""
    shape = model.settings
    return (
        model.noise, model.scales, model.context_axis, shape.context, shape.channels,
    )  # fmt: skip


def _fixed(series: Any) -> int:
    one = series.members[0] if isinstance(series, JointSeries) else series
    return int(one.fixed)
