"""The border between numpy and torch at inference: planes in, posterior out.

Device, precision and memory live here. One predictor is used by one thread.
"""

from __future__ import annotations

import copy
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from napari_blindspot.device import channels_last
from napari_blindspot.errors import OutOfMemory
from napari_blindspot.inference.answered import Answered, scaled
from napari_blindspot.inference.blending import blended
from napari_blindspot.inference.cores import framed, noise_in, pieces, widened
from napari_blindspot.inference.memory import free_bytes, is_out_of_memory
from napari_blindspot.methods.bayesian import posterior
from napari_blindspot.networks.precision import half_where_it_pays
from napari_blindspot.noise.field import NoiseField
from napari_blindspot.noise.likelihood import mapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_blindspot.inference.answered import Bits
    from napari_blindspot.model import Model
    from napari_blindspot.networks.blindspot import Hole, Prior
    from napari_blindspot.networks.views import Core
    from napari_blindspot.noise.likelihood import Likelihood

    Groups = Sequence[Sequence[int]]
    Corner = tuple[int, int, int]

# Pixels at once: a GPU wants many; a CPU wants its maps to stay in the cache, and is
# twice as fast with one plane of 256² than with sixteen.
_MAPS_BYTES = 8  # of a pixel of one map, with a copy of it
_CPU_PIECE = 256  # pixels a side, for the same reason
_LARGEST_BATCH = {"cpu": 2**16, "cuda": 2**24, "mps": 2**22}


class Predictor:
    """Posterior mean and standard deviation of planes, in data units.

    Parameters
    ----------
    model
        A trained model; it is copied to the device.
    device
        Where it runs.
    strength
        1 for the model's answer, 0 for the noisy image, between them a blend.

    Attributes
    ----------
    host_bytes
        Host memory that activations may take, on a CPU; None: a quarter of what is
        free.
    too_large
        Pixels of a plane that were once too many for the memory, None so far.
    """

    _missing: ClassVar[float] = 0.0
    """What a voxel without a value is for the network: the dark end of the scale."""

    def __init__(
        self, model: Model, device: torch.device, strength: float = 1.0
    ) -> None:
        self.model = model
        self.device = device
        self.strength = strength
        self.context = model.settings.context
        self.network: Any = channels_last(copy.deepcopy(model.network), device).eval()
        self.halo = self._halo()
        self.stride = self.network.stride
        self.host_bytes: int | None = None
        self.too_large: int | None = None
        self._batch_pixels: int | None = None

    def __call__(
        self,
        planes: NDArray[Any],
        groups: Groups,
        channel: int,
        noise: Likelihood | None = None,
        corner: Corner = (0, 0, 0),
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Denoise some planes of a tile, all at once; arguments as in `batches`.

        Returns
        -------
        mean, std
            (len(groups), Y, X) float32, posterior mean and standard deviation.
        """
        mean = np.empty((len(groups), *planes.shape[1:]), np.float32)
        std = np.empty_like(mean)
        for found in self.batches(planes, groups, channel, noise, corner):
            if isinstance(found, Answered):
                mean[found.part], std[found.part] = found.mean, found.std
        return mean, std

    def batches(
        self,
        planes: NDArray[Any],
        groups: Groups,
        channel: int,
        noise: Likelihood | None = None,
        corner: Corner = (0, 0, 0),
        core: Core | None = None,
    ) -> Iterator[Answered | float]:
        """Denoise some planes of a tile, batch by batch, each of them bit by bit.

        Parameters
        ----------
        planes
            (P, Y, X) in data units: every plane that is denoised or serves as
            context. NaN is masked and stays NaN; what float32 cannot hold becomes NaN.
        groups
            For every plane to denoise the indices into `planes` of its neighbours
            and, in the middle, of itself: 2·context + 1 numbers.
        channel
            Which scale and noise model of the model belong to the planes.
        noise
            Noise of the planes to denoise, network units, where it is not the same
            everywhere: its parameters are arrays (len(groups), 1 or Y, 1 or X).
        corner
            Where the first plane to denoise and the first pixel of `planes` lie in
            their series (plane, row, column); only methods with masks ask.
        core
            Rows and columns of `planes` that are wanted; others may be NaN. Default:
            all.

        Yields
        ------
        Answered or float
            Some of `groups` with their posterior mean and standard deviation; and on
            the way there, which part of all is done, 0 to 1.

        Raises
        ------
        OutOfMemory
            If not even a single plane fits into memory.
        """
        t = self._to_network(planes, channel)
        finite = np.isfinite(t)
        t = np.where(finite, t, np.float32(self._missing))
        index = np.asarray(groups)
        if noise is None:
            noise = self.noise_field(channel).at(
                range(len(index)), slice(None), slice(None)
            )
        start = 0
        while start < len(index):
            size = self._batch_size(planes.shape[-2] * planes.shape[-1])
            part = slice(start, min(start + size, len(index)))
            missing = ~finite[index[part, self.context]]
            bits = self._bits(
                t[index[part]],
                mapped(itemgetter(part), noise),
                missing,
                channel,
                (corner[0] + start, *corner[1:]),
                core,
            )
            try:
                mean, std = yield from scaled(bits, part, len(index))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(size, planes.shape[-2:])
                continue
            mean, std = self._to_data(mean, std, channel)
            if self.strength < 1:
                noisy = planes[index[part, self.context]]
                mean, std = blended(mean, std, noisy, self.strength)
            mean[missing] = std[missing] = np.nan
            yield Answered(part, mean, std)
            start = part.stop

    def answers(
        self,
        maps: NDArray[np.float32],
        noise: Likelihood,
        channel: int,
        holes: Sequence[Hole],
    ) -> torch.Tensor:
        """Return what the teacher says behind several holes.

        Parameters
        ----------
        maps
            (N, maps, Y, X) in network units.
        noise
            Of the centre planes, network units.
        channel
            Which channel all of them are of.
        holes
            Blind spots (z, y, x), alike in z.

        Returns
        -------
        Tensor
            (K, N, Y, X) in network units, on the device; of several channels
            (K, N, Y, X, C).
        """
        with torch.no_grad():
            x, kind = self._input(maps, channel)
            with half_where_it_pays(self.device):
                priors = self.network.at_holes(x, holes, kind)
            y, noise = self.network.centre(x), self._on_device(noise)
            said = [self._answer(y, prior, noise, channel)[0] for prior in priors]
        return torch.stack(said)

    def noise_field(self, channel: int) -> NoiseField:
        """Return the noise of a channel, the same in all planes and pixels."""
        scale = self.model.scales[channel]
        return NoiseField(self.model.noise[channel].normalized(scale))

    def _to_network(self, planes: NDArray[Any], channel: int) -> NDArray[np.float32]:
        return self.model.scales[channel].forward(planes)

    def _to_data(
        self, mean: NDArray[np.float32], std: NDArray[np.float32], channel: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scale = self.model.scales[channel]
        return scale.inverse(mean), std * np.float32(scale.scale)

    def _bits(
        self,
        t: NDArray[np.float32],
        noise: Likelihood,
        missing: NDArray[np.bool_],
        channel: int,
        corner: Corner,
        core: Core | None,
    ) -> Bits:
        """Run piece by piece, where small maps are the faster ones.

        Yields
        ------
        float
            Which part is done, where there are several.

        Returns
        -------
        mean, std
            In network units.
        """
        parts = self._pieces(core, t.shape[-2:])
        if len(parts) == 1:
            return self._run(t, noise, missing, channel, corner, parts[0])
        mean = np.full((len(t), *t.shape[2:]), np.nan, np.float32)
        std = mean.copy()
        for number, part in enumerate(parts, 1):
            where = (..., *part) if part else (...,)
            one = self._run(t, noise, missing, channel, corner, part)
            mean[where], std[where] = one[0][where], one[1][where]
            yield number / len(parts)
        return mean, std

    def _pieces(
        self, core: Core | None, shape: Sequence[int]
    ) -> tuple[Core | None, ...]:
        """Return the parts of a tile that go through the network by themselves."""
        if not self._cuts_cores:
            return (core,)
        return pieces(core, shape, _CPU_PIECE, self.stride)

    def _run(
        self,
        t: NDArray[np.float32],
        noise: Likelihood,
        missing: NDArray[np.bool_],
        channel: int,
        corner: Corner = (0, 0, 0),
        core: Core | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        del missing, corner  # what is there of the other pixels does not depend on it
        wide = widened(core, t.shape[-2:])
        with torch.inference_mode():
            y, prior = self._prior(t, channel, wide)
            noise = self._on_device(noise_in(noise, wide))
            mean, std = self._answer(y, prior, noise, channel)
            answer = mean.cpu().numpy(), std.cpu().numpy()
        return framed(answer[0], wide, t.shape[-2:]), framed(
            answer[1], wide, t.shape[-2:]
        )

    def _answer(
        self, y: torch.Tensor, prior: Prior, noise: Any, channel: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return answer and standard deviation, 0 where the method knows none."""
        if self.model.answer == "mean":
            return prior.mean, torch.zeros_like(prior.mean)
        return posterior(y, prior, noise, self.model.recalibration_of(channel))

    def _prior(
        self, maps: NDArray[np.float32], channel: int, core: Core | None
    ) -> tuple[torch.Tensor, Prior]:
        """Return a core of the noisy centre plane and what the network says of it."""
        x, kind = self._input(maps, channel)
        with half_where_it_pays(self.device):
            prior = self.network(x, self.model.hole, kind, core)
        return self.network.centre(x if core is None else x[(..., *core)]), prior

    def _input(
        self, maps: NDArray[np.float32], channel: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Bring maps to the device, and say which channel they are of."""
        x = torch.from_numpy(maps).to(self.device)
        kind = torch.full((len(x),), channel, device=self.device)
        return x.contiguous(memory_format=torch.channels_last), kind

    def _halo(self) -> int:
        """Return how many pixels around a tile its result depends on."""
        # One more for what stands out from its neighbours (`lone_variance`).
        return int(self.network.halo(self.model.hole)) + 1

    def _on_device(self, noise: Likelihood) -> Likelihood:
        return mapped(
            lambda p: torch.from_numpy(np.ascontiguousarray(p)).to(self.device), noise
        )

    def max_pixels(self) -> int:
        """Return how many pixels of one plane fit into memory at once."""
        free = free_bytes(self.device, self.host_bytes)
        at_once = int(free / self._bytes_per_pixel())
        if self._cuts_cores and (1.5 * _CPU_PIECE + 2 * self.halo) ** 2 <= at_once:
            # Only what goes in and comes out is as large as the tile.
            return int(free / (_MAPS_BYTES * (2 * self.context + 3)))
        return at_once

    @property
    def _cuts_cores(self) -> bool:
        """Whether a tile goes through the network piece by piece."""
        return self.device.type == "cpu"

    @property
    def batch_pixels(self) -> int:
        """Pixels of all planes that go through the network at once, about."""
        if self._batch_pixels is None:
            wanted = _LARGEST_BATCH[self.device.type]
            self._batch_pixels = max(1, min(self.max_pixels(), wanted))
        return self._batch_pixels

    @batch_pixels.setter
    def batch_pixels(self, pixels: int) -> None:
        self._batch_pixels = pixels

    def _batch_size(self, pixels: int) -> int:
        return max(1, self.batch_pixels // pixels)

    def _bytes_per_pixel(self) -> int:
        """Return about how many bytes of activations one pixel takes."""
        # Measured on a CPU, and rounded up: docs/design.md.
        shape = self.model.teacher.settings
        floats = 42 * shape.width + (12 * shape.neighbour_width if shape.context else 0)
        return floats * self._item_bytes

    @property
    def _item_bytes(self) -> int:
        return 2 if self.device.type == "cuda" else 4

    def _shrink(self, size: int, plane: tuple[int, ...]) -> None:
        if size == 1:
            raise OutOfMemory(
                f"A tile of {plane[0]} × {plane[1]} pixels does not fit into the "
                f"memory of {self.device}; close other programs, or run on the CPU "
                f"(--device cpu)."
            )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self._batch_pixels = max(1, size // 2) * plane[0] * plane[1]
