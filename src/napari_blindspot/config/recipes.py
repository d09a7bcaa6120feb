"""The shapes of networks that learn from noise, and how long they are trained."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from napari_blindspot.config.base import Settings
from napari_blindspot.config.blind2grad import MaskedNetworkSettings
from napari_blindspot.config.tunable import HoleSizes, refuse_even


class NetworkSettings(Settings):
    """The shape of a blind-spot network.

    Parameters
    ----------
    width
        Channels of the half-plane U-Net at every level.
    depth
        Number of poolings; the stride is ``2**depth`` pixels.
    context
        Neighbour planes on either side.
    neighbour_width
        Channels of the U-Net that sees the neighbour planes.
    half_planes
        What the half-plane branches see: the ``"centre"`` plane alone, or ``"all"``
        planes. All of them learn faster where photons are few; the centre alone is
        cheaper.
    hole
        Blind spot (z, y, x) for which the network is trained, odd sizes.
    channels
        Channels that are seen and denoised together; 1 for one at a time.
    covariance
        Of several channels: ``"full"``, so that one tells about the others, or
        ``"diagonal"``.
    starts
        Channels that have a blind filter and scales of their own; 1: one for all.
    units
        What the U-Nets see and answer in: network units (``"scale"``), or units of
        the noise (``"noise"``), in which all stacks look alike.
    """

    width: int = Field(32, ge=1)
    depth: int = Field(4, ge=1, le=6)
    context: int = Field(2, ge=0)
    neighbour_width: int = Field(16, ge=1)
    half_planes: Literal["centre", "all"] = "centre"
    hole: HoleSizes = (1, 1, 1)
    channels: int = Field(1, ge=1)
    covariance: Literal["full", "diagonal"] = "full"
    starts: int = Field(1, ge=1)
    units: Literal["scale", "noise"] = "scale"

    @model_validator(mode="after")
    def _hole_has_a_centre(self) -> Self:
        refuse_even("hole", self.hole)
        return self

    @model_validator(mode="after")
    def _starts_are_of_single_channels(self) -> Self:
        if self.channels > 1 and self.starts > 1:
            raise ValueError(
                f"starts={self.starts} is about channels one at a time, but "
                f"channels={self.channels} are seen together; leave starts out"
            )
        return self

    @property
    def stride(self) -> int:
        """Tiles and crops come in multiples of this many pixels."""
        return int(2**self.depth)


class Plan(Settings):
    """How any network is trained: its budget, its crops, its steps.

    Parameters
    ----------
    steps, minutes
        The budget: training ends at whichever is reached first.
    crop, batch
        Side of the square training crops in pixels, crops per step.
    learning_rate, warmup, clip
        Peak learning rate (Adam), part of the budget spent warming up, and the
        largest gradient norm.
    ema
        Decay of the averaged weights, which are the ones that are kept.
    signal_crops
        Part of the crops that are drawn towards signal.
    holdout
        Part of the blocks that are never targets.
    holdout_block
        Side of a held-out block in pixels.
    drop_planes
        Part of the steps in which the nearest neighbour planes are withheld at random,
        so that holes of every depth are trained for.
    checks
        How often the held-out score is taken over the whole budget.
    patience
        Checks without improvement after which training stops.
    least
        Part of the budget that is spent in any case.
    cache_bytes
        Bytes of decoded source blocks that are kept in memory.
    """

    steps: int = 1200
    minutes: float = 60.0
    crop: int = 96
    batch: int = 8
    learning_rate: float = 1e-3
    warmup: float = 0.05
    clip: float = 1.0
    ema: float = 0.99
    signal_crops: float = 0.5
    holdout: float = 0.08
    holdout_block: int = 48
    drop_planes: float = 0.0
    checks: int = 25
    patience: int = 8
    least: float = 0.8
    cache_bytes: int = 512 * 2**20


class Recipe(Plan):
    """How a blind-spot network is trained; one recipe per device class and quality.

    Parameters
    ----------
    network
        Its shape.
    """

    network: NetworkSettings = NetworkSettings()


class MaskedRecipe(Plan):
    """How a network is trained that tells hidden voxels.

    Parameters
    ----------
    network
        Its shape.
    """

    network: MaskedNetworkSettings = MaskedNetworkSettings()
