"""Photographs, the noise of Laine et al. 2019 on them, and how they are scored.

Values are on the scale of 0 to 1 (8-bit values over 255) and never clipped by noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import skimage
from skimage.io import imread

from _data import find_data
from napari_blindspot.noise.estimate import estimate_poisson_gaussian
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.normalize import Normalization

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Image = "NDArray[np.float32]"
Line = tuple[float, float, float]

COLOUR_TRAINING = ("coffee.png", "rocket.jpg", "motorcycle_left.png", "ihc.png")
COLOUR_UNSEEN = ("astronaut.png", "chelsea.png")
"""Out of the package of scikit-image itself: nothing is fetched."""
USERS_OWN = ("Kodak24", "BSD300", "Set14", "CBSD68")
"""Read where the user has them beside the other photographs, by folder name."""


@dataclass(frozen=True, slots=True)
class Noise:
    """A kind of noise whose strength is the same for all images or differs.

    Parameters
    ----------
    kind
        ``"gaussian"`` has σ in 8-bit units, ``"poisson"`` λ photons at value 1,
        ``"impulse"`` the share of pixels that are replaced by a random colour.
    low, high
        Range of the strength; equal where it is the same for all images.
    """

    kind: Literal["gaussian", "poisson", "impulse"]
    low: float
    high: float

    @property
    def varies(self) -> bool:
        """Whether the strength differs from image to image."""
        return self.high > self.low

    def level(self, rng: np.random.Generator) -> float:
        """Draw a strength."""
        return float(rng.uniform(self.low, self.high))

    def add(
        self, clean: NDArray[np.float32], level: float, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return a noisy copy of an image (C, Y, X)."""
        if self.kind == "gaussian":
            noisy = clean + level / 255 * rng.standard_normal(clean.shape)
        elif self.kind == "poisson":
            noisy = rng.poisson(level * clean) / level
        else:
            hit = rng.random(clean.shape[1:]) < level  # in all channels
            noisy = np.where(hit, rng.random(clean.shape), clean)
        return noisy.astype(np.float32)

    def line(self, level: float) -> Line:
        """Return a, b and floor of the noise variance a·X + b.

        Of impulses, the noise of the other pixels: none, but for rounding.
        """
        if self.kind == "gaussian":
            return 0.0, (level / 255) ** 2, 1e-6
        if self.kind == "poisson":
            return 1 / level, 0.0, 1e-3 / level
        return 0.0, 0.0, 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A noisy photograph with its truth.

    Parameters
    ----------
    clean, noisy
        (C, Y, X) float32, 0 to 1 before the noise.
    level
        Strength of the noise.
    known, estimated
        a, b and floor of the noise: the truth, and what the noisy image tells.
    """

    clean: NDArray[np.float32]
    noisy: NDArray[np.float32]
    level: float
    known: Line
    estimated: Line | None


@dataclass(frozen=True, slots=True)
class Scale:
    """Network units: t = (value − mean) / std of the noisy training images.

    Parameters
    ----------
    mean, std
        On the scale of 0 to 1.
    """

    mean: float
    std: float

    @classmethod
    def of(cls, images: Sequence[NDArray[np.float32]]) -> Scale:
        """Measure some images."""
        values = np.concatenate([image.ravel() for image in images])
        return cls(float(values.mean()), float(values.std()))

    def forward(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring values to network units."""
        return (values - np.float32(self.mean)) / np.float32(self.std)

    def inverse(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring network units back."""
        return values * np.float32(self.std) + np.float32(self.mean)

    def line(self, line: Line) -> Line:
        """Bring a, b and floor of a noise variance to network units."""
        a, b, floor = line
        square = self.std**2
        return a / self.std, (a * self.mean + b) / square, floor / square


def make_photo(
    clean: NDArray[np.float32], noise: Noise, seed: Sequence[int], *, estimate: bool
) -> Photo:
    """Draw the noise of one image."""
    rng = np.random.default_rng(seed)
    level = noise.level(rng)
    noisy = noise.add(clean, level, rng)
    return Photo(
        clean,
        noisy,
        level,
        noise.line(level),
        estimate_line(noisy) if estimate else None,
    )


def estimate_line(noisy: NDArray[np.float32]) -> Line:
    """Estimate the noise of one image (1, Y, X) as the package does for a stack."""
    found = estimate_poisson_gaussian([255 * noisy[0]])
    affine = found.normalized(Normalization(0.0, 255.0))
    assert isinstance(affine, Affine)
    return float(affine.a), float(affine.b), float(affine.floor)


def grey_images(folder: str, limit: int | None = None) -> list[NDArray[np.float32]]:
    """Read the photographs of a folder, (1, Y, X) each."""
    return [_read(path)[:1] for path in _files(folder)[:limit]]


def colour_images(names: Sequence[str]) -> list[NDArray[np.float32]]:
    """Read colour photographs that come with scikit-image, (3, Y, X) each."""
    folder = Path(skimage.__file__).parent / "data"
    return [_read(folder / name)[:3] for name in names]


def users_images(folder: str, limit: int | None = None) -> list[NDArray[np.float32]]:
    """Read a folder of colour photographs; none where the user has it not."""
    if not (find_data() / "2d" / folder).is_dir():
        return []
    return [_as_colour(_read(path)) for path in _files(folder)[:limit]]


def psnr8(image: NDArray[np.float32], clean: NDArray[np.float32]) -> float:
    """Return the PSNR in dB after rounding to 8 bit, range 255."""
    stored = np.clip(np.rint(255 * image.astype(np.float64)), 0, 255)
    error = np.mean((stored - np.rint(255 * clean.astype(np.float64))) ** 2)
    return float(10 * np.log10(255**2 / error))


def draw_crops(
    images: Sequence[NDArray[np.float32]],
    side: int,
    count: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw crops (N, C, S, S), turned and mirrored at random, and whose they are.

    Images count by their size.
    """
    sizes = np.array([image.size for image in images], float)
    which = rng.choice(len(images), count, p=sizes / sizes.sum())
    crops = []
    for index in which:
        image = images[index]
        y, x = (rng.integers(n - side + 1) for n in image.shape[1:])
        crop = np.rot90(image[:, y : y + side, x : x + side], rng.integers(4), (1, 2))
        crops.append(crop[..., ::-1] if rng.integers(2) else crop)
    return np.stack(crops), which


def _files(folder: str) -> list[Path]:
    where = find_data() / "2d" / folder
    return sorted(p for p in where.iterdir() if p.suffix.lower() in SUFFIXES)


SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


def _read(path: Path) -> NDArray[np.float32]:
    values = imread(path)
    if values.dtype != np.uint8:
        raise SystemExit(f"{path} is not an 8-bit image; convert it first.")
    channels = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    scaled: NDArray[np.float32] = channels.astype(np.float32) / np.float32(255)
    return scaled


def _as_colour(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.repeat(image, 3, axis=0) if len(image) == 1 else image[:3]
