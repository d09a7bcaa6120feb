"""The single images of `blind2grad.py`, their noise, and how answers are scored."""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from skimage.metrics import structural_similarity

from _data import find_data
from _photos import (
    COLOUR_UNSEEN,
    Noise,
    colour_images,
    grey_images,
    make_photo,
    psnr8,
    users_images,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from _photos import Photo

TEXT, COLOUR = "text", "scikit-image"
HERE = ("Set12", "BSD68", TEXT, COLOUR)
USERS = ("Set9", "Set14", "Kodak24", "BSD300", "CBSD68", "Urban100")
"""Read by folder name where the user has them beside the others."""
SETS = (*HERE, *USERS)

_TOP = 255.0
_THINNED = {"BSD68": 4}  # every fourth image, where not all are asked for
_TEXTS, _SIDE, _CELL = 4, 256, 64
_GMSD_CONSTANT = 170.0  # Xue et al. 2014, for a range of 255


@dataclass(frozen=True, eq=False)
class Shot:
    """An image of a set with noise of one level.

    Parameters
    ----------
    label
        Set, number in the set from 1, and σ, as a key of the figures.
    clean
        (C, Y, X) float32, 0 to 1.
    sigma
        Of Gaussian noise that is not clipped, 8-bit grey values.
    number
        Decides the noise, with σ.
    """

    label: str
    clean: NDArray[np.float32]
    sigma: float
    number: int

    @cached_property
    def photo(self) -> Photo:
        """The image and its noisy copy."""
        noise = Noise("gaussian", self.sigma, self.sigma)
        seed = [0, round(self.sigma), self.number]
        return make_photo(self.clean, noise, seed, estimate=False)


def shots(name: str, sigma: float, limit: int | None, *, whole: bool) -> Iterator[Shot]:
    """List the images of a set; none where it is not there.

    Parameters
    ----------
    name
        One of `SETS`.
    sigma
        Of the noise.
    limit
        The first so many alone.
    whole
        Every image instead of every fourth of BSD68.
    """
    numbered = list(enumerate(_images(name), start=1))
    step = 1 if whole else _THINNED.get(name, 1)
    for number, clean in numbered[::step][:limit]:
        yield Shot(f"{name}/{number:02d}/{sigma:g}", clean, sigma, number)


def _images(name: str) -> list[NDArray[np.float32]]:
    if name == TEXT:
        return [text_image(seed) for seed in range(_TEXTS)]
    if name == COLOUR:
        return colour_images(COLOUR_UNSEEN)
    if name in USERS:
        return users_images(name)
    return grey_images(name) if (find_data() / "2d" / name).is_dir() else []


def text_image(seed: int) -> NDArray[np.float32]:
    """Draw dark letters on a bright page, (1, Y, X) of 0 to 1."""
    rng = np.random.default_rng([seed, 7])
    page = Image.new("L", (_SIDE, _SIDE), 235)
    draw = ImageDraw.Draw(page)
    for top in range(0, _SIDE, _CELL):
        for left in range(0, _SIDE, _CELL):
            letter = str(rng.choice(list(string.ascii_letters)))
            font = ImageFont.load_default(size=int(rng.integers(28, 56)))
            place = (left + int(rng.integers(4, 16)), top)
            draw.text(place, letter, fill=int(rng.integers(0, 90)), font=font)
    return np.asarray(page, np.float32)[None] / np.float32(_TOP)


def scored(image: NDArray[np.float32], clean: NDArray[np.float32]) -> dict[str, float]:
    """Return PSNR in dB, SSIM and GMSD of 8-bit values, (C, Y, X) of 0 to 1."""
    pair = (_stored(image), _stored(clean))
    deviations = [gmsd(*planes) for planes in zip(*pair, strict=True)]
    return {
        "psnr": round(psnr8(image, clean), 3),
        "ssim": round(_ssim(*pair), 4),
        "gmsd": round(float(np.mean(deviations)), 4),
    }


def _ssim(image: NDArray[np.float64], clean: NDArray[np.float64]) -> float:
    """Return the mean SSIM of the channels as Wang et al. 2004 define it."""
    how: dict[str, Any] = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": _TOP,
        "channel_axis": 0,
    }
    return float(structural_similarity(clean, image, **how))


def gmsd(image: NDArray[np.float64], clean: NDArray[np.float64]) -> float:
    """Return the gradient magnitude similarity deviation of two planes, 0 to 255.

    Xue et al. 2014: 0 for equal images, larger for worse ones.
    """
    one, other = (_gradient(plane) for plane in (image, clean))
    shared = 2 * one * other + _GMSD_CONSTANT
    return float(np.std(shared / (one**2 + other**2 + _GMSD_CONSTANT)))


def _gradient(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the length of the Prewitt gradient of the plane at half the size."""
    half = ndimage.uniform_filter(plane, 2, mode="nearest")[1::2, 1::2]
    down, right = (ndimage.prewitt(half, axis, mode="nearest") / 3 for axis in (0, 1))
    return np.hypot(down, right)


def _stored(image: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.clip(np.rint(_TOP * image.astype(np.float64)), 0, _TOP)
