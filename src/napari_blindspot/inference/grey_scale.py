"""Whether the grey values of a stack are those that a model knows the noise of.

A model is exact about grey values: it brings them into its own units, and knows how
much noise there is at each of them. A copy of the stack in 8 bit, or one brought to 0
to 1, has other grey values, and what a network makes of them is no image. But a range
alone tells little: a darker or brighter stack of the same camera has another one too.
What it has in common is how dark the camera gets, and how noisy a grey value is. A copy
by a factor has noise that was multiplied like the image.

Only a model that says what it was trained on, and on something else, is held against a
stack: where it has learnt from that very one, the training has said what does not fit.
"""

from __future__ import annotations

from math import inf, log
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError, SourceError
from napari_blindspot.normalize import HIGH_PERCENT, LOW_PERCENT
from napari_blindspot.planes import middle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.model import Model
    from napari_blindspot.noise.models import PoissonGaussian
    from napari_blindspot.stack import Stack

_SIDE = 256  # pixels of the window that is looked at
_LEAST_SIDE = 3  # what a second difference needs
_RANGE = 3.0  # times, either way; below that nothing is said
_DARKER = 5.0  # standard deviations of the noise
_NOISE = log(8.0)  # of the variance; fine structure passes for some noise
_MAD = 0.6745  # of a normal deviate, its median absolute value
_SECOND_DIFFERENCE = 6.0**0.5  # (1, −2, 1) makes white noise so many times larger


def check_grey_scale(model: Model, stack: Stack) -> None:
    """Look at a window in the middle of every channel of a stack.

    Parameters
    ----------
    model
        With a scale and a noise model for every channel.
    stack
        Up to 256 × 256 pixels of one plane of each channel are read; a window that
        is damaged is let through.

    Raises
    ------
    InputError
        As `refuse_other_scale`.
    """
    if not is_of_others(model, stack):
        return
    sizes = stack.sizes
    window = {axis: middle(sizes[axis], 1) for axis in "TZ"}
    window |= {axis: middle(sizes[axis], _SIDE) for axis in "YX"}
    for channel in range(sizes["C"]):
        try:
            pixels = stack.read({**window, "C": slice(channel, channel + 1)})
        except SourceError:  # the run says where, and keeps what it has till then
            continue
        plane = pixels.reshape(pixels.shape[-2:])
        refuse_other_scale(model, channel, plane, stack.name)


def is_of_others(model: Model, stack: Stack) -> bool:
    """Return whether a model was trained on other stacks than this one."""
    sources = model.provenance.get("sources") or []
    return bool(sources) and stack.identity not in sources


def refuse_other_scale(
    model: Model, channel: int, plane: NDArray[Any], name: str
) -> None:
    """Refuse grey values that are not of the scale that a model was trained on.

    Parameters
    ----------
    model
        With a scale and a noise model for this channel.
    channel
        Which one.
    plane
        (rows, columns) noisy values, data units; its middle is looked at. A plane that
        tells nothing, constant or smaller than 3 pixels, is let through.
    name
        Of the stack, for the message.

    Raises
    ------
    InputError
        If its range is more than 3 times larger or smaller, and it is either darker
        than the camera gets, or has the noise of a copy by that factor rather than
        that of the camera.
    """
    rows, columns = (middle(size, _SIDE) for size in plane.shape)
    values = plane[rows, columns].astype(np.float64)
    if min(values.shape) < _LEAST_SIDE or not np.isfinite(values).any():
        return
    low, centre, high = np.nanpercentile(values, [LOW_PERCENT, 50, HIGH_PERCENT])
    scale, noise, found = model.scales[channel], model.noise[channel], _noise(values)
    factor = (high - low) / scale.scale
    if factor == 0 or 1 / _RANGE <= factor <= _RANGE:
        return
    expected = float(noise.variance(float(centre)))
    # Where the centre lies in the stack that the model knows, if this is a copy of it.
    source = scale.offset + (centre - low) / factor
    copied = factor**2 * float(noise.variance(float(source)))
    too_dark = centre < _darkest(noise.ordinary)
    comparable = _knows_white_noise(model, channel) and found > 0
    if not too_dark and not (comparable and _is_copy(found**2, expected, copied)):
        return
    raise InputError(
        f"the model was trained on grey values from {scale.offset:.4g} to "
        f"{scale.offset + scale.scale:.4g} and expects noise of {expected**0.5:.3g} "
        f"here, but {name} holds {low:.4g} to {high:.4g} with noise of {found:.3g}: it "
        f"is on another scale (converted to 8 bit, normalised?); give the stack as it "
        f"was recorded, or train on this one."
    )


def _is_copy(found: float, expected: float, copied: float) -> bool:
    """Return whether a variance is that of a copy rather than that of the camera."""
    apart, as_copy = (abs(log(found / one)) for one in (expected, copied))
    return apart > _NOISE and as_copy < apart / 2


def _noise(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of the noise; of two axes, the larger one."""
    apart = (np.abs(np.diff(values, 2, axis)) for axis in (0, 1))
    found = max(float(np.nanmedian(one)) for one in apart)
    return found / _MAD / _SECOND_DIFFERENCE


def _darkest(noise: PoissonGaussian) -> float:
    """Return a grey value below which the camera gives hardly any.

    Without light the variance is that of reading alone, so the dark lies above where
    the line of the noise model meets 0; how far that is known, its intervals tell.
    """
    slope = noise.a_interval[1] if noise.a_interval else noise.a
    start = noise.b_interval[1] if noise.b_interval else noise.b
    if slope <= 0:  # as noisy everywhere, so nothing tells what is dark
        return -inf
    return float(-start / slope - _DARKER * noise.floor**0.5)


def _knows_white_noise(model: Model, channel: int) -> bool:
    """Return whether differences of neighbours show all of the noise it knows."""
    teacher = model.provenance.get("teacher") or {}
    hole = model.known_hole or teacher.get("hole") or (1, 1, 1)
    return max(hole) == 1 and model.noise[channel].ordinary.seen == 1
