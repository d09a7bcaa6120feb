"""Does a model fit a stack? Channels and planes, brought together or refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_blindspot.errors import InputError
from napari_blindspot.planes import (
    PlaneSeries,
    plane_series,
    resolve_context_axis,
    usable_context,
)

if TYPE_CHECKING:
    from napari_blindspot.model import Model
    from napari_blindspot.stack import Stack


def match_channels(model: Model, stack: Stack) -> Model:
    """Return the model with one scale and noise model per channel of the stack.

    Raises
    ------
    InputError
        If the model knows neither one channel nor as many as the stack has.
    """
    wanted = stack.sizes["C"]
    if model.n_channels == wanted:
        return model
    if model.settings.channels > 1:
        raise InputError(
            f"the model denoises {model.n_channels} channels together but the stack "
            f"has {wanted}; give a stack of the same channels, all of them, or train "
            f"with channels='each'."
        )
    if model.n_channels == 1:
        return replace(
            model,
            scales=model.scales * wanted,
            noise=model.noise * wanted,
            recalibration=model.recalibration * wanted,
        )
    raise InputError(
        f"the model was trained on {model.n_channels} channels but the stack has "
        f"{wanted}; choose one channel (channel=) for training and for denoising."
    )


def series_for(model: Model, stack: Stack) -> tuple[PlaneSeries, ...]:
    """Cut a stack into series along the context axis of a model.

    Raises
    ------
    InputError
        If the stack has too few planes for the model's neighbours.
    """
    context = model.settings.context
    if context:
        axis = model.context_axis.upper()
        planes = stack.sizes[axis]
        if usable_context(planes, context) < context:
            raise InputError(
                f"the model was trained with {context} neighbour planes on either side "
                f"along {axis}, so it needs at least {2 * context} of them, but the "
                f"stack ({stack.axes}, shape {stack.shape}) has {planes}; train on "
                f"this stack instead, or name its axes with axes=."
            )
    return plane_series(stack, resolve_context_axis(stack, model.context_axis))
