"""Episodes: a recording with the start that would be fitted to it, cut into crops.

In use, the blind filter and the scales of the network are measured on the user's stack
before anything is learnt. Pretraining does the same for every volume, with the very
functions of the product, so the U-Nets learn what remains to be said after that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from napari_blindspot.config import NetworkSettings
from napari_blindspot.methods.filter_fit import fit_filter
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.planes import neighbours
from napari_blindspot.pretraining.recordings import Recording, record
from napari_blindspot.pretraining.volumes import make_volume
from napari_blindspot.starts.shipped import CONTEXT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_blindspot.networks.blindspot import Hole

SHAPE = (12, 128, 128)
CROP = 64
_START_CROPS = 36


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """Crops of one recording, in network units.

    Parameters
    ----------
    planes
        (N, 2·CONTEXT + 1, S, S); neighbours that are not shown are 0.
    clean
        (N, S, S), the centre plane without noise.
    """

    planes: Tensor
    clean: Tensor

    def on(self, device: torch.device) -> Crops:
        """Return the crops on a device."""
        return Crops(self.planes.to(device), self.clean.to(device))


class Episode:
    """One recording, the blind spot to answer behind, and its start.

    Parameters
    ----------
    recording
        In network units.
    rng
        Draws the crops that the start is fitted to.
    """

    def __init__(self, recording: Recording, rng: np.random.Generator) -> None:
        self.recording = recording
        self.noise = Affine(
            torch.tensor(recording.a),
            torch.tensor(recording.b),
            torch.tensor(recording.floor),
        )
        self.start = self.fit(rng)

    def on(self, device: torch.device) -> Episode:
        """Bring noise and start to a device; the recording stays where it is."""
        self.noise = Affine(
            *(p.to(device) for p in (self.noise.a, self.noise.b, self.noise.floor))
        )
        self.start = {name: one.to(device) for name, one in self.start.items()}
        return self

    @property
    def hole(self) -> Hole:
        """Blind spot behind which the network answers, in the planes that it is given.

        Without context planes the hole hides all of them.
        """
        depth = self.recording.hole[0]
        if self.recording.context == 0 or depth // 2 >= self.recording.context:
            depth = 2 * CONTEXT + 1
        return (depth, *self.recording.hole[1:])

    def draw(self, rng: np.random.Generator, count: int, side: int = CROP) -> Crops:
        """Draw crops at random places, mirrored at random.

        Parameters
        ----------
        rng
            Draws.
        count, side
            How many, and their side in pixels.
        """
        planes, height, width = self.recording.noisy.shape
        side = min(side, height, width)
        seen, clean = [], []
        for _ in range(count):
            at = int(rng.integers(planes))
            y, x = (int(rng.integers(n - side + 1)) for n in (height, width))
            window = (..., slice(y, y + side), slice(x, x + side))
            seen.append(self.planes(at)[window])
            clean.append(self.recording.clean[at][window])
        flips = [axis for axis in (-2, -1) if rng.random() < 0.5]
        both = [torch.from_numpy(np.stack(one)).float() for one in (seen, clean)]
        return Crops(*(one.flip(flips) for one in both))

    def planes(self, at: int) -> NDArray[np.float32]:
        """Return one plane with its neighbours; those that are not shown are 0.

        (2·CONTEXT + 1, Y, X) in network units.
        """
        noisy, context = self.recording.noisy, self.recording.context
        around = neighbours(at, len(noisy), context)
        stack = noisy[[*around[:context], at, *around[context:]]]
        hidden = CONTEXT - context
        return np.pad(stack, ((hidden, hidden), (0, 0), (0, 0)))

    @property
    def judged(self) -> Affine:
        """The noise as it was estimated; every parameter is (1, 1, 1)."""
        judged = self.recording.judged
        a, b, floor = (
            (judged * p).reshape(1, 1, 1)
            for p in (self.noise.a, self.noise.b, self.noise.floor)
        )
        return Affine(a, b, floor * self.recording.judged_floor)

    def fit(
        self,
        rng: np.random.Generator,
        units: Literal["scale", "noise"] = "noise",
        noise: Affine | None = None,
    ) -> dict[str, Tensor]:
        """Fit the blind filter and the scales; in the shapes of `CONTEXT` planes.

        Parameters
        ----------
        rng
            Draws the crops.
        units
            What the network sees, as of `NetworkSettings`.
        noise
            Of which its units, its scales and the filter are; default: `judged`.
        """
        context, hole = self.recording.context, self.recording.hole
        probe = BlindSpotNetwork(
            NetworkSettings(width=1, depth=1, context=context, hole=hole, units=units)
        )
        crops = self.draw(rng, _START_CROPS)
        shown = slice(CONTEXT - context, CONTEXT + context + 1)
        target = torch.ones_like(crops.clean)
        fit_filter(probe, [(crops.planes[:, shown], target, noise or self.judged)])
        found = {
            name: tensor
            for name, tensor in probe.state_dict().items()
            if name in ("start.kernel", "unit", "spread", "eyes.slope", "eyes.level")
        }
        hidden = CONTEXT - context
        found["start.kernel"] = functional.pad(
            found["start.kernel"], (0, 0, 0, 0, hidden, hidden)
        )
        return found


class Episodes(IterableDataset[Episode]):
    """Endless episodes; every worker makes its own.

    Parameters
    ----------
    seed
        Of everything that is drawn.
    first
        Number of the first episode; one that was made before is not made again.
    """

    def __init__(self, seed: int, first: int = 0) -> None:
        self.seed, self.first = seed, first

    def __iter__(self) -> Iterator[Episode]:
        """Make one episode after the other."""
        info = torch.utils.data.get_worker_info()
        if info is not None:
            torch.set_num_threads(1)  # of a process that only makes recordings
        index, step = (0, 1) if info is None else (info.id, info.num_workers)
        number = self.first + index
        while True:
            yield make_episode(self.seed, number)
            number += step


def make_episode(seed: int, number: int) -> Episode:
    """Make an episode; the same seed and number give the same one."""
    rng = np.random.default_rng([seed, number])
    return Episode(record(rng, make_volume(rng, SHAPE)), rng)


def load_episodes(seed: int, first: int, workers: int) -> Iterator[Episode]:
    """Return endless episodes, made by worker processes or, with 0, right here."""
    loader: DataLoader[Episode] = DataLoader(
        Episodes(seed, first), batch_size=None, num_workers=workers
    )
    return iter(loader)
