"""Before-and-after pictures: planes side by side at the same contrast."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

_GAP = 6
_STRIP = 26
_LEAST_SIDE = 360
_NICE_LENGTHS_UM = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def before_after(path: Path, *rows: Image) -> Path:
    """Write rows made by `compare` below each other into one PNG.

    Parameters
    ----------
    path
        PNG file to write; an existing one is replaced.
    *rows
        At least one picture.

    Returns
    -------
    Path
        `path`.
    """
    from PIL import Image

    width = max(row.width for row in rows)
    height = sum(row.height for row in rows)
    picture = Image.new("L", (width, height), 255)
    top = 0
    for row in rows:
        picture.paste(row, (0, top))
        top += row.height
    picture.save(path, optimize=True)
    return path


def compare(
    noisy: NDArray[Any],
    denoised: NDArray[Any],
    *,
    truth: NDArray[Any] | None = None,
    uncertainty: NDArray[Any] | None = None,
    pixel_size_um: float | None = None,
    title: str = "",
) -> Image:
    """Lay planes side by side: noisy, denoised, and truth and uncertainty if given.

    Noisy, denoised and truth share contrast limits, taken from the denoised plane;
    the uncertainty has its own, from 0 up. The labels say which.

    Parameters
    ----------
    noisy, denoised, truth, uncertainty
        Planes (Y, X) of the same shape, data units. NaN is drawn black.
    pixel_size_um
        Distance between pixel centres in µm, for a scale bar.
    title
        What the planes show, put before each label.

    Returns
    -------
    Image
        Grey picture, for `before_after`.

    Raises
    ------
    InputError
        If a plane is not two-dimensional or the shapes differ.
    """
    optional = {"truth": truth, "uncertainty": uncertainty}
    panels = {"noisy": noisy, "denoised": denoised}
    panels |= {name: plane for name, plane in optional.items() if plane is not None}
    _check_panels(panels)
    limits = dict.fromkeys(panels, grey_limits(denoised))
    if uncertainty is not None:
        limits["uncertainty"] = grey_limits(uncertainty, 0.0)
    shown = {
        _label(title, name, *limits[name]): _grey(plane, *limits[name])
        for name, plane in panels.items()
    }
    return _side_by_side(shown, pixel_size_um)


def planes_in_a_row(
    planes: Sequence[NDArray[Any]], limits: tuple[float, float]
) -> Image:
    """Lay planes side by side, pixel by pixel, without labels.

    Parameters
    ----------
    planes
        At least one, (Y, X) of the same shape, data units. NaN is drawn black.
    limits
        Grey values that are drawn black and white.

    Returns
    -------
    Image
        8-bit grey, with a white gap between planes.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    from PIL import Image

    _check_panels({"noisy": planes[0], "denoised": planes[-1]})
    rows, columns = planes[0].shape
    width = len(planes) * (columns + _GAP) - _GAP
    picture = Image.new("L", (width, rows), 255)
    for index, plane in enumerate(planes):
        left = index * (columns + _GAP)
        picture.paste(Image.fromarray(_grey(plane, *limits)), (left, 0))
    return picture


def _check_panels(panels: dict[str, NDArray[Any]]) -> None:
    wanted = panels["noisy"].shape
    for name, plane in panels.items():
        if plane.ndim != 2 or plane.shape != wanted:
            raise InputError(
                f"{name} has shape {plane.shape}; a picture needs planes (Y, X) of one "
                f"shape, here {wanted}: pick one plane of the stack."
            )


def grey_limits(plane: NDArray[Any], low: float | None = None) -> tuple[float, float]:
    """Return the grey values that are drawn black and white, data units.

    Parameters
    ----------
    plane
        (Y, X), any dtype; its 0.5 % and 99.8 % quantiles count. NaN is ignored.
    low
        Black instead of the lower one.
    """
    darkest, brightest = np.nanpercentile(plane, [0.5, 99.8])
    return float(darkest) if low is None else low, float(brightest)


def _label(title: str, name: str, low: float, high: float) -> str:
    return f"{title} {name}, {low:.3g} to {high:.3g}".lstrip()


def _grey(plane: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    span = high - low if high > low else 1.0
    unit = np.clip((plane.astype(np.float64) - low) / span, 0.0, 1.0)
    return np.rint(255.0 * np.nan_to_num(unit)).astype(np.uint8)


def _side_by_side(
    panels: dict[str, NDArray[np.uint8]], pixel_size_um: float | None
) -> Image:
    """Lay panels in a row, each under its label.

    Small planes are enlarged by a whole factor, pixel by pixel.
    """
    from PIL import Image, ImageDraw, ImageFont

    rows, columns = next(iter(panels.values())).shape
    factor = max(1, math.ceil(_LEAST_SIDE / columns))
    width, height = columns * factor, rows * factor
    total = len(panels) * (width + _GAP) - _GAP
    picture = Image.new("L", (total, height + _STRIP), 255)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=16)
    for index, (label, grey) in enumerate(panels.items()):
        left = index * (width + _GAP)
        draw.text((left + 4, 3), label, fill=0, font=font)
        panel = Image.fromarray(grey).resize((width, height), Image.Resampling.NEAREST)
        picture.paste(panel, (left, _STRIP))
    if pixel_size_um:
        _draw_scale_bar(draw, font, width, height, pixel_size_um / factor)
    return picture


def _draw_scale_bar(
    draw: Any,
    font: Any,
    width: int,
    height: int,
    pixel_um: float,
) -> None:
    """Draw a bar of a round length, at most a third of the first panel."""
    fitting = [n for n in _NICE_LENGTHS_UM if n / pixel_um <= width / 3]
    if not fitting:
        return
    length, bottom = fitting[-1], _STRIP + height - 12
    bar = (12, bottom - 4, 12 + round(length / pixel_um), bottom)
    draw.rectangle((6, bottom - 28, max(bar[2], 60) + 6, bottom + 6), fill=0)
    draw.rectangle(bar, fill=255)
    # The font that Pillow brings has no µ.
    draw.text((12, bottom - 26), f"{length} um", fill=255, font=font)
