"""Settings of what training optimises: channels together or not, the noise learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from napari_blindspot.config.base import Settings

if TYPE_CHECKING:
    from napari_blindspot.config import TrainSettings

Channels = Literal["each", "joint"]
Covariance = Literal["full", "diagonal"]
Unknown = Literal["estimate", "learn"]

LEARNED = {"gaussian": "sigma", "poisson": "gain", "impulse": "outliers"}
"""The one number that can be learned of each kind of noise that has one."""


class ObjectiveSettings(Settings):
    """What the network is trained for."""

    channels: Channels = Field(
        "each",
        description="each: every channel is denoised by itself, by one network; joint: "
        "all channels together, so that one tells about the others where they show "
        "the same structures.",
    )
    covariance: Covariance = Field(
        "full",
        description="Of joint channels: full, or diagonal, where a channel sees the "
        "others around a voxel but not their values in it.",
    )
    unknown: Unknown = Field(
        "estimate",
        description="What is not given of gaussian, poisson or impulse noise: estimate "
        "it before training, or learn one number for the stack along with the network "
        "(one channel only).",
    )
    stop_gradient: bool = Field(
        False,
        description="Take the noise variance as a constant in every training step, so "
        "that the mean cannot move to explain a residual by more noise.",
    )


def refuse_conflicts(settings: TrainSettings) -> None:
    """Refuse what cannot be had together.

    Raises
    ------
    ValueError
        With the sentence for the user, without its full stop.
    """
    _refuse_for_joint(settings)
    if settings.unknown == "learn":
        _refuse_for_learning(settings)
    if settings.stop_gradient and settings.low_counts:
        raise ValueError(
            "stop_gradient has no meaning with low_counts, where mean and noise are "
            "one number; leave one of them out"
        )


def _refuse_for_joint(settings: TrainSettings) -> None:
    if settings.channels == "each":
        if settings.covariance != "full":
            raise ValueError(
                f"covariance={settings.covariance!r} is about channels that are "
                f"denoised together; give channels='joint' as well, or leave it out"
            )
        return
    if settings.channel is not None:
        raise ValueError(
            f"channels='joint' denoises all channels together, but "
            f"channel={settings.channel!r} picks one; leave one of the two out"
        )
    if settings.noise == "impulse" or settings.low_counts:
        what = "low_counts" if settings.low_counts else "noise='impulse'"
        raise ValueError(
            f"{what} cannot be used with channels='joint', whose noise is that of a "
            f"camera in every channel; use channels='each', or leave {what} out"
        )


def _refuse_for_learning(settings: TrainSettings) -> None:
    learned = LEARNED.get(settings.noise)
    if learned is None:
        raise ValueError(
            f"unknown='learn' cannot be used with noise={settings.noise!r}: gain and "
            f"offset of a camera, learned freely inside the likelihood, end far off; "
            f"use unknown='estimate', or noise='gaussian', 'poisson' or 'impulse', "
            f"which have one unknown number"
        )
    if (known := getattr(settings, learned)) is not None:
        raise ValueError(
            f"{learned}={known!r} is known, so unknown='learn' has nothing to learn; "
            f"leave one of the two out"
        )
    for name in ("noise_per_plane", "dark", "variance_map", "low_counts"):
        if getattr(settings, name):
            raise ValueError(
                f"{name} cannot be used with unknown='learn', which learns one number "
                f"for all voxels; leave one of the two out"
            )
    if settings.channels == "joint":
        raise ValueError(
            "unknown='learn' learns the noise of one channel, so it cannot be used "
            "with channels='joint'; leave one of the two out"
        )
