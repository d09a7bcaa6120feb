"""Fourier ring and shell correlation: down to which detail two images agree.

    FRC(f) = Re Σ A·B* / √(Σ|A|² · Σ|B|²)    over the ring of spatial frequency f

(Saxton and Baumeister 1982; van Heel 1987). Where it falls below 1/7 (Rosenthal and
Henderson 2003; Banterle et al. 2013), 1/f is called the resolution. Rings and shells
are taken in physical frequency, so that voxels need not be cubes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.floating[Any]]

THRESHOLD = 1.0 / 7.0


@dataclass(frozen=True, slots=True)
class FourierCurve:
    """A Fourier ring or shell correlation.

    Parameters
    ----------
    frequency
        Middle of each ring, in cycles per `unit`.
    correlation
        Of each ring, -1 to 1.
    unit
        ``"µm"``, or ``"px"`` where the voxel size is not known.
    resolution
        1 / frequency where the curve falls below 1/7 for two rings in a row, for the
        first time, in `unit`; None where even the coarsest rings do not agree.
    sampling_limited
        Whether the curve stays above 1/7 to the end: the two agree down to the
        finest detail that the pixels can hold, and `resolution` is two pixels.
    shape
        Size of the images, or of the volume, that were compared, in voxels.
    n_images
        How many images were put together: planes, or one volume.
    """

    frequency: tuple[float, ...]
    correlation: tuple[float, ...]
    unit: Literal["µm", "px"]
    resolution: float | None
    sampling_limited: bool
    shape: tuple[int, ...]
    n_images: int


def fourier_correlation(
    pairs: Iterable[tuple[FloatArray, FloatArray]],
    spacing: Sequence[float],
    unit: Literal["µm", "px"] = "µm",
) -> FourierCurve:
    """Correlate pairs of images ring by ring, or of volumes shell by shell.

    The sums of all pairs are put together before the ratio is taken. Images are
    tapered to zero at their borders (Hann), after their mean was taken off, because
    the Fourier transform takes them for periodic. The taper blurs the curve by about
    one ring.

    Parameters
    ----------
    pairs
        At least one; all of one shape, (Y, X) or (Z, Y, X), finite.
    spacing
        Distance between voxel centres along each axis, in `unit`.
    unit
        Unit of `spacing`.

    Returns
    -------
    FourierCurve
        From one ring beyond zero frequency up to the Nyquist frequency of the plane.
    """
    sums, shape, n_images = None, (), 0
    for one, two in pairs:
        if sums is None:
            shape = one.shape
            window, rings = _window(shape), _rings(shape, spacing)
            sums = np.zeros((3, int(rings.max()) + 1))
        sums += _ring_sums(_spectrum(one, window), _spectrum(two, window), rings)
        n_images += 1
    if sums is None:
        raise ValueError("fourier_correlation needs at least one pair of images")
    step, count = _ring_step(shape, spacing)
    cross, power_one, power_two = sums[:, 1 : count + 1]
    power = np.sqrt(power_one * power_two)
    correlation = np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)
    frequency = step * np.arange(1, count + 1)
    resolution, limited = _resolution(frequency, correlation, spacing)
    return FourierCurve(
        tuple(frequency.tolist()),
        tuple(correlation.tolist()),
        unit,
        resolution,
        limited,
        tuple(shape),
        n_images,
    )


def _ring_step(shape: Sequence[int], spacing: Sequence[float]) -> tuple[float, int]:
    """Return the width of a ring and how many fit below the Nyquist frequency.

    Both are those of the plane: a volume has few planes, and its frequencies along Z
    lie far apart.
    """
    plane = list(zip(shape[-2:], spacing[-2:], strict=True))
    step = max(1.0 / (size * distance) for size, distance in plane)
    nyquist = min(0.5 / distance for _, distance in plane)
    return step, math.floor(nyquist / step + 1e-9)


def _rings(shape: Sequence[int], spacing: Sequence[float]) -> NDArray[np.intp]:
    """Return the ring of every Fourier coefficient; the last one is not used."""
    step, count = _ring_step(shape, spacing)
    squares = (
        np.fft.fftfreq(size, distance).astype(np.float32) ** 2
        for size, distance in zip(shape, spacing, strict=True)
    )
    radius = np.sqrt(reduce(np.add.outer, squares))
    return np.minimum(np.rint(radius / step), count + 1).astype(np.intp)


def _window(shape: Sequence[int]) -> NDArray[np.float32]:
    from scipy.signal.windows import hann

    # Two longer, without its two zeros: of few planes every one should count.
    profiles = [hann(size + 2)[1:-1] for size in shape]
    window: NDArray[np.float32] = reduce(np.multiply.outer, profiles).astype(np.float32)
    return window


def _spectrum(image: FloatArray, window: NDArray[np.float32]) -> NDArray[np.complex64]:
    from scipy.fft import fftn

    levelled = (image - image.mean(dtype=np.float64)).astype(np.float32)
    spectrum: NDArray[np.complex64] = fftn(levelled * window, overwrite_x=True)
    return spectrum


def _ring_sums(
    one: NDArray[np.complex64], two: NDArray[np.complex64], rings: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return, per ring, Re Σ A·B*, Σ|A|² and Σ|B|²."""
    parts = (
        one.real * two.real + one.imag * two.imag,
        one.real**2 + one.imag**2,
        two.real**2 + two.imag**2,
    )
    flat = rings.ravel()
    return np.stack([np.bincount(flat, part.ravel()) for part in parts])


def _resolution(
    frequency: FloatArray,
    correlation: FloatArray,
    spacing: Sequence[float],
) -> tuple[float | None, bool]:
    """Return the resolution, and whether the sampling alone limits it."""
    below = correlation < THRESHOLD
    lasting = np.flatnonzero(below & np.append(below[1:], True))
    if not lasting.size:
        return 2.0 * max(spacing[-2:]), True
    first = int(lasting[0])
    if first == 0:
        return None, False
    before, after = correlation[first - 1], correlation[first]
    part = (before - THRESHOLD) / (before - after)
    crossing = frequency[first - 1] + part * (frequency[first] - frequency[first - 1])
    return float(1.0 / crossing), False
