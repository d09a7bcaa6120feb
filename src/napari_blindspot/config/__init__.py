"""Settings: frozen, checked, and the only home of defaults.

The Python functions, the shell and the panel are three readers of these classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from napari_blindspot.config.base import Settings as Settings
from napari_blindspot.config.base import parse_settings as parse_settings
from napari_blindspot.config.blind2grad import (
    AnswerSettings,
    Blind2GradSettings,
    refuse_masked,
)
from napari_blindspot.config.noise import ASKED_BY_NOISE as ASKED_BY_NOISE
from napari_blindspot.config.noise import CAMERA_FILES as CAMERA_FILES
from napari_blindspot.config.noise import CameraSettings as CameraSettings
from napari_blindspot.config.noise import FixedPattern as FixedPattern
from napari_blindspot.config.noise import NoiseChoice as NoiseChoice
from napari_blindspot.config.noise import NoiseSettings as NoiseSettings
from napari_blindspot.config.objective import ObjectiveSettings, refuse_conflicts
from napari_blindspot.config.opening import OpenSettings as OpenSettings
from napari_blindspot.config.opening import RegionChoice
from napari_blindspot.config.recipes import NetworkSettings as NetworkSettings
from napari_blindspot.config.recipes import Recipe as Recipe
from napari_blindspot.config.sizes import parse_bytes
from napari_blindspot.config.starting import StartChoice, refuse_start, refuse_untaught
from napari_blindspot.config.streaming import StreamSettings as StreamSettings
from napari_blindspot.config.students import StudentSize
from napari_blindspot.config.tunable import LARGEST_HOLE as LARGEST_HOLE
from napari_blindspot.config.tunable import (
    HoleSettings,
    StrengthSettings,
    StudentChoice,
    TunableSettings,
    refuse_tuned,
    refuse_uncertainty,
)
from napari_blindspot.config.tunable import HoleSizes as HoleSizes

Quality = Literal["fast", "balanced", "best"]
Context = Literal["auto", "z", "t", "none"]
OutputDtype = Literal["float32", "same"]
BinBy = Literal["reference", "result"]


class BudgetSettings(Settings):
    """How much time training may take: exactly one of three."""

    quality: Quality | None = Field(
        None,
        description="fast, balanced or best: network size and training time that suit "
        "the device (the default is balanced).",
    )
    minutes: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Train for this many minutes at most.",
    )
    steps: int | None = Field(
        None,
        ge=0,
        description="Train for this many steps at most; 0: answer from the start "
        "weights alone.",
    )

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        given = {
            name: getattr(self, name)
            for name in ("quality", "minutes", "steps")
            if getattr(self, name) is not None
        }
        if len(given) > 1:
            listed = " and ".join(f"{name}={value!r}" for name, value in given.items())
            raise ValueError(
                f"the training budget is given more than once ({listed}); keep one of "
                f"quality, minutes, steps"
            )
        return self


class DeviceSettings(Settings):
    """Where the network runs."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    threads: int | None = Field(
        None, ge=1, description="CPU threads of the network; default: measured."
    )
    memory: str | None = Field(
        None,
        description="Most host memory that the program may hold, e.g. 2GB; default: a "
        "quarter of what is free on top of what it holds.",
    )

    @property
    def memory_bytes(self) -> int | None:
        """What `memory` says in bytes, None if it says nothing."""
        return None if self.memory is None else parse_bytes(self.memory)

    @field_validator("memory")
    @classmethod
    def _memory_is_a_size(cls, value: str | None) -> str | None:
        if value is not None:
            parse_bytes(value)
        return value


class TrainSettings(
    OpenSettings,
    NoiseSettings,
    BudgetSettings,
    TunableSettings,
    ObjectiveSettings,
    Blind2GradSettings,
    DeviceSettings,
):
    """Everything that decides about training."""

    method: str = Field(
        "bayesian",
        description="Denoising method: bayesian (posterior of a blind-spot network), "
        "atbsn (tunable blind spots and a student that several of them teach), or "
        "blind2grad (a network that learns to tell hidden voxels and where there is "
        "detail).",
    )
    context: Context = Field(
        "auto",
        description="Axis whose neighbour planes help: z, t (movies) or none; auto "
        "takes z where there are several planes, else t.",
    )
    start: StartChoice = Field(
        "warm",
        description="warm: weights that come with the package and fit most stacks; "
        "cold: nothing; or the path of a model file, e.g. of the last stack from the "
        "same microscope.",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of every random choice.")

    @property
    def measures_noise(self) -> bool:
        """Whether the strength of the noise is measured, neither given nor learned."""
        return self.unknown == "estimate" and not self.gives_strength

    @model_validator(mode="after")
    def _objective_fits(self) -> Self:
        refuse_conflicts(self)
        refuse_tuned(self)
        refuse_masked(self)
        refuse_start(self)
        return self


class OutputSettings(Settings):
    """What is written."""

    uncertainty: bool = Field(
        False, description="Also give the posterior standard deviation."
    )
    dtype: OutputDtype = Field(
        "float32", description="float32, or same: the dtype of the input, rounded."
    )
    overwrite: bool = Field(False, description="Replace an existing output.")


class LookSettings(
    OpenSettings,
    CameraSettings,
    HoleSettings,
    AnswerSettings,
    StrengthSettings,
    DeviceSettings,
):
    """Everything that decides about denoised values, and nothing about a file."""


class PredictSettings(LookSettings, OutputSettings, StreamSettings):
    """Everything that decides about the denoised output."""


class ModelChoice(TrainSettings, StudentChoice):
    """Which model does the work: trained here or read, and perhaps its student."""

    model: Path | None = Field(
        None, description="Use this trained model file instead of training."
    )

    @model_validator(mode="after")
    def _model_comes_with_its_training(self) -> Self:
        given = [
            name
            for name in sorted(TRAINING_ONLY)
            if getattr(self, name) != TrainSettings.model_fields[name].default
        ]
        if self.model is not None and given:
            raise ValueError(
                f"{', '.join(given)} cannot be given together with model: the model "
                f"file brings its own; leave them out, or train without model"
            )
        refuse_untaught(self)
        return self


# pydantic names its own constructors differently in the two bases.
class DenoiseSettings(ModelChoice, PredictSettings):  # type: ignore[misc]
    """Train on a stack and denoise it."""

    @model_validator(mode="after")
    def _uncertainty_is_known(self) -> Self:
        refuse_uncertainty(self)
        return self


class PreviewBudget(BudgetSettings):
    """How much time the training of a preview may take: none, if none is given."""

    quality: Quality | None = Field(
        None,
        description="fast, balanced or best: train first, with network size and time "
        "that suit the device. Default: no training; the start weights answer.",
    )


class PreviewSettings(PreviewBudget, ModelChoice, StrengthSettings):
    """Which part of a plane is shown denoised, and by which model."""

    channel: int | str | None = Field(
        None,
        description="Show this channel (index or name); without model the network is "
        "for it alone. Default: the first.",
    )
    region: RegionChoice | None = Field(
        None, description="Show this part of the plane alone, e.g. 'y=0:512,x=0:512'."
    )
    z: int | None = Field(
        None,
        ge=0,
        description="Plane along z, counted from 0; default: the middle one.",
    )
    t: int | None = Field(
        None, ge=0, description="Time point, counted from 0; default: the middle one."
    )
    beside: bool = Field(
        False, description="Put the noisy plane to the left of the denoised one."
    )


class DiagnoseSettings(OpenSettings, NoiseSettings):
    """How a stack is diagnosed, and what is known of its camera."""


class DistillSettings(OpenSettings, CameraSettings, DeviceSettings):
    """How a student is taught by a trained model."""

    student: StudentSize = Field(
        "small", description="Size of the student: tiny, small or full."
    )
    start: Literal["warm", "cold"] = Field(
        "warm",
        description="warm: begin with the weights of a student that comes with the "
        "package, where the teacher sees as it does; cold: with those of the teacher, "
        "where they have the same shape.",
    )
    minutes: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Teach for this many minutes at most; default: what suits the "
        "device.",
    )
    steps: int | None = Field(
        None, ge=1, description="Teach for this many steps at most."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of every random choice.")

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.minutes is not None and self.steps is not None:
            raise ValueError(
                f"the budget is given twice (minutes={self.minutes:g} and "
                f"steps={self.steps}); keep one of them"
            )
        return self


class ShippedSettings(OpenSettings, NoiseSettings):
    """Which shipped student is told the noise of a stack, and what is known of it."""

    student: StudentSize | None = Field(
        None, description="Size of the student; default: the smallest that is shipped."
    )
    context: Context = Field(
        "auto",
        description="Axis whose neighbour planes help: z, t (movies) or none; auto "
        "takes z where there are several planes, else t.",
    )


class CompareSettings(OpenSettings):
    """How a result is measured against a reference; both are read the same way."""

    bin_by: BinBy = Field(
        "reference",
        description="By whose values voxels are binned to compare mean intensities: "
        "reference for a truth; result for a noisy reference (the input, a repeat), "
        "where binning by noisy values would show regression to the mean.",
    )
    data_range: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Grey values that PSNR, SSIM and NRMSE refer to; default: from "
        "the 1 % to the 99.9 % quantile of the reference.",
    )
    offset: float | None = Field(
        None,
        allow_inf_nan=False,
        description="Grey value of the camera in the dark, subtracted from both "
        "before ratios of intensities are taken; default: nothing.",
    )


TRAINING_ONLY = frozenset(TrainSettings.model_fields) - {
    *OpenSettings.model_fields,
    *CameraSettings.model_fields,
    *HoleSettings.model_fields,
    *AnswerSettings.model_fields,
    *DeviceSettings.model_fields,
}
"""Settings that a trained model brings along and that cannot be given beside one."""
