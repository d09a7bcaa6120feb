"""Settings of the method Blind2Grad: masks, loss, and how its network is asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from napari_blindspot.config.base import Settings

if TYPE_CHECKING:
    from napari_blindspot.config import TrainSettings

Mask = Literal["dual", "bernoulli", "uniform"]
DetailBy = Literal["smooth", "pixel"]
LossForm = Literal["absolute", "signed", "decoupled"]
GradientAt = Literal["hidden", "all"]
GradientAxes = Literal["yx", "zyx"]
GradientFlow = Literal["stopped", "live"]
Variant = Literal["plain", "real"]
Average = Literal["all", "hidden", "none"]

METHOD = "blind2grad"
OMEGA: dict[str, float] = {"plain": 0.8, "real": 0.5}
"""Weight of the gradients where it is not given (Song et al. 2025)."""

DILATION: dict[str, int] = {"plain": 1, "real": 2}
"""Distance of the taps of every convolution, pixels."""


class AnswerSettings(Settings):
    """How a network of Blind2Grad is asked, while it is trained or long after."""

    passes: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Answers of blind2grad that are averaged for the result; default: "
        "40, or what the model was trained with.",
    )
    average: Average | None = Field(
        None,
        description="The result of blind2grad: the mean of all passes (all, the "
        "default), of those in which the voxel was hidden (hidden), or one answer to "
        "the whole image (none).",
    )
    combine: bool | None = Field(
        None,
        description="Bring the voxel's own value into the result of blind2grad "
        "through the noise model.",
    )

    @property
    def asked(self) -> dict[str, Any]:
        """What was given of them, by name."""
        return {
            name: getattr(self, name)
            for name in AnswerSettings.model_fields
            if getattr(self, name) is not None
        }


class Blind2GradSettings(AnswerSettings):
    """What the method Blind2Grad leaves open; grey values are those of 8-bit images.

    Network units run from 0 at the dark to 1 at the bright end of a stack, so 255 of
    these grey values are one network unit.
    """

    mask: Mask = Field(
        "dual",
        description="Voxels that are hidden: dual (fewer of those in detail, more of "
        "the others), bernoulli (all alike) or uniform (a grid).",
    )
    mask_rate: float = Field(
        0.25, ge=0.02, le=0.9, description="Part of the voxels that is hidden."
    )
    detail_share: float = Field(
        0.5,
        ge=-1,
        le=1,
        description="Part of the hidden voxels in detail that a dual mask shows, to "
        "hide as many elsewhere; below 0 it hides more of the detail.",
    )
    detail_by: DetailBy = Field(
        "smooth",
        description="Where there is detail: where image and estimate differ by eps_g, "
        "as a mean over 3×3 beyond the noise (smooth) or voxel by voxel (pixel), which "
        "darkens images of few photons.",
    )
    eps_g: float = Field(
        40.0,
        ge=0,
        allow_inf_nan=False,
        description="Difference that makes a detail, 8-bit grey values.",
    )
    standout: Literal["on", "off"] = Field(
        "on", description="Drop features at random, but none at edges of eps_s."
    )
    eps_s: float = Field(
        25.0,
        ge=0,
        allow_inf_nan=False,
        description="Gradient of an edge, 8-bit grey values per voxel.",
    )
    omega: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Weight of the gradients in the loss; default: 0.8, with variant "
        "real 0.5.",
    )
    gamma: float = Field(
        0.5,
        ge=0,
        allow_inf_nan=False,
        description="Weight of the hidden values by themselves in the loss.",
    )
    loss_form: LossForm = Field(
        "decoupled",
        description="How values and gradients come together: each squared by itself "
        "(decoupled), or added before they are squared, by size (absolute) or with "
        "their signs (signed).",
    )
    gradient_at: GradientAt = Field(
        "hidden", description="Voxels whose gradients count: hidden or all."
    )
    gradient_axes: GradientAxes = Field(
        "yx",
        description="Directions of the gradients: yx, or zyx, which takes half as long "
        "again.",
    )
    gradient_flow: GradientFlow = Field(
        "stopped",
        description="Whether the answer to the whole image learns from its gradients "
        "too: stopped or live. Live and signed together do harm.",
    )
    variant: Variant = Field(
        "plain",
        description="plain, or real: wider convolutions for the noise of real cameras "
        "that neighbours share a little.",
    )


class MaskedNetworkSettings(Settings):
    """The shape of a network that tells hidden voxels, and how it is asked.

    Parameters
    ----------
    width
        Channels of the encoder and of the last level.
    depth
        Number of poolings; the stride is ``2**depth`` pixels.
    context
        Neighbour planes on either side, which are never hidden.
    channels
        Channels that are seen and denoised together; 1 for one at a time.
    dilation
        Distance of the taps of its convolutions.
    window
        Reach of the average in the channel attention, in pixels of half the
        resolution.
    standout, eps_s, drop
        Whether features are dropped, what is an edge (8-bit grey values), and which
        part is dropped elsewhere.
    mask_rate, passes, average, combine
        As of `Blind2GradSettings` and `AnswerSettings`.
    seed
        Of the masks of the answer.
    """

    width: int = Field(16, ge=1)
    depth: int = Field(5, ge=1, le=6)
    context: int = Field(2, ge=0)
    channels: int = Field(1, ge=1)
    dilation: int = Field(1, ge=1, le=2)
    window: int = Field(15, ge=0)
    standout: bool = True
    eps_s: float = Field(25.0, ge=0)
    drop: float = Field(0.3, ge=0, lt=1)
    mask_rate: float = Field(0.25, gt=0, lt=1)
    passes: int = Field(40, ge=1)
    average: Average = "all"
    combine: bool = False
    seed: int = Field(0, ge=0, lt=2**63)

    @property
    def stride(self) -> int:
        """Tiles and crops come in multiples of this many pixels."""
        return int(2**self.depth)

    @property
    def hole(self) -> tuple[int, int, int]:
        """What of a voxel is hidden where it is: nothing around it, z y x."""
        return (1, 1, 1)


def asked_shape(
    shape: MaskedNetworkSettings, settings: AnswerSettings
) -> MaskedNetworkSettings:
    """Return the shape of a network that is asked as the settings say.

    Raises
    ------
    ValueError
        If there are too few passes to hide every voxel; with the sentence for the user,
        without its full stop.
    """
    shape = shape.model_copy(update=settings.asked)
    least = math.ceil(1 / shape.mask_rate)
    if (shape.average == "hidden" or shape.combine) and shape.passes < least:
        what = "combine" if shape.combine else "average='hidden'"
        raise ValueError(
            f"passes={shape.passes} is too few for {what}: every voxel is hidden once "
            f"in {least} passes; give at least {least}"
        )
    return shape


def omega_of(settings: Blind2GradSettings) -> float:
    """Return the weight of the gradients."""
    return OMEGA[settings.variant] if settings.omega is None else settings.omega


def refuse_masked(settings: TrainSettings) -> None:
    """Refuse what only Blind2Grad has beside another method, and what it lacks.

    Raises
    ------
    ValueError
        With the sentence for the user, without its full stop.
    """
    if settings.method != METHOD:
        _refuse_elsewhere(settings)
        return
    _refuse_meaningless(settings)
    if settings.start not in ("warm", "cold"):
        raise ValueError(
            f"start={settings.start!r} cannot be used with method={METHOD!r}, which "
            f"always starts cold; leave start out"
        )
    if settings.steps == 0:
        raise ValueError(
            f"steps=0 cannot be used with method={METHOD!r}, which has no weights to "
            f"answer from; give some steps, or use method='bayesian'"
        )
    _refuse_masks(settings)


def _refuse_elsewhere(settings: TrainSettings) -> None:
    """Refuse settings of this method beside another one.

    Beside a model file `ModelChoice` has the sentence: they are settled by then.
    """
    if getattr(settings, "model", None) is not None:
        return
    given = [
        name
        for name, field in Blind2GradSettings.model_fields.items()
        if getattr(settings, name) != field.default
    ]
    if given:
        raise ValueError(
            f"{' and '.join(given)} can be given with method={METHOD!r} alone, but "
            f"method={settings.method!r} is asked for; leave it out, or choose that "
            f"method"
        )


def _refuse_meaningless(settings: TrainSettings) -> None:
    given = {
        "hole": settings.hole is not None,
        "train_hole": settings.train_hole is not None,
        "unknown": settings.unknown != "estimate",
        "stop_gradient": settings.stop_gradient,
        "low_counts": settings.low_counts,
        "covariance": settings.covariance != "full",
    }
    meaningless = [name for name, is_given in given.items() if is_given]
    if meaningless:
        raise ValueError(
            f"{' and '.join(meaningless)} has no meaning with method={METHOD!r}, which "
            f"hides single voxels at random and whose loss knows no noise model; leave "
            f"it out, or use method='bayesian'"
        )


def _refuse_masks(settings: TrainSettings) -> None:
    """Refuse a grid that does not exist, and too few passes to hide every voxel."""
    rate = settings.mask_rate
    if settings.mask == "uniform" and 1 / round(math.sqrt(1 / rate)) ** 2 != rate:
        raise ValueError(
            f"mask_rate={rate:g} cannot be used with mask='uniform', whose grid hides "
            f"one voxel of a square; give 0.25, 0.0625 or 0.04, or use another mask"
        )
    asked_shape(MaskedNetworkSettings(mask_rate=rate), settings)
