"""Settings of the camera and its noise: what the user knows of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from napari_blindspot.config.base import Settings

NoiseChoice = Literal["auto", "camera", "gaussian", "poisson", "impulse"]
FixedPattern = Literal["none", "columns", "rows"]


class CameraSettings(Settings):
    """What single pixels, columns and planes of the camera have of their own."""

    dark: Path | None = Field(
        None,
        description="Stack recorded without light: offset and read noise of every "
        "pixel are taken from it.",
    )
    offset_map: Path | None = Field(
        None,
        description="Image of every pixel's grey value without light, in place of a "
        "dark stack; needs variance_map.",
    )
    variance_map: Path | None = Field(
        None,
        description="Image of every pixel's variance without light, in grey values "
        "squared; needs offset_map.",
    )
    gain_map: Path | None = Field(
        None,
        description="Image of every pixel's gain, for sCMOS cameras; only how the "
        "pixels differ is used, to even them out.",
    )
    fixed_pattern: FixedPattern = Field(
        "none",
        description="Subtract the offsets that single columns or rows have in all "
        "planes (diagnose tells whether there are any).",
    )
    noise_per_plane: bool = Field(
        False,
        description="Let the noise level differ from plane to plane, for stacks whose "
        "planes were rescaled (bleaching or depth correction) and for sets of images "
        "that were not recorded alike.",
    )

    @model_validator(mode="after")
    def _one_source_of_darkness(self) -> Self:
        maps = {"offset_map": self.offset_map, "variance_map": self.variance_map}
        given = [f"{name}={path.name}" for name, path in maps.items() if path]
        if given and self.dark is not None:
            raise ValueError(
                f"dark={self.dark.name} cannot be used together with "
                f"{' and '.join(given)}: both tell offset and read noise of every "
                f"pixel; keep one of the two"
            )
        if len(given) == 1:
            missing = next(name for name, path in maps.items() if not path)
            raise ValueError(
                f"{given[0]} cannot be used without {missing}; give both maps, or a "
                f"dark stack (dark) in their place"
            )
        return self


CAMERA_FILES = ("dark", "offset_map", "variance_map", "gain_map")
"""Settings that name files of a camera's calibration."""

ASKED_BY_NOISE: dict[str, tuple[NoiseChoice, ...]] = {
    "gain": ("auto", "camera", "poisson", "impulse"),
    "offset": ("auto", "camera", "poisson", "impulse"),
    "read_noise": ("auto", "camera", "impulse"),
    "sigma": ("gaussian",),
    "outliers": ("impulse",),
    "low_counts": ("auto", "camera", "poisson"),
}
"""Settings that have a meaning with some kinds of noise alone."""


class NoiseSettings(CameraSettings):
    """What is known about the noise; the rest is estimated from the stack."""

    noise: NoiseChoice = Field(
        "auto",
        description="Kind of noise. auto: a camera (variance = gain · signal + "
        "constant); camera: the same, and gain, offset and read noise must be given; "
        "gaussian: the same everywhere; poisson: photons alone; impulse: a camera "
        "with outliers (hot pixels, salt and pepper).",
    )
    gain: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Grey values per photo-electron."
    )
    offset: float | None = Field(
        None, allow_inf_nan=False, description="Grey value of the camera in the dark."
    )
    read_noise: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Read noise in electrons (standard deviation).",
    )
    sigma: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Standard deviation of gaussian noise in grey values.",
    )
    outliers: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of voxels that hold an outlier, for impulse noise.",
    )
    low_counts: bool = Field(
        False,
        description="Count photons exactly instead of taking the noise as normal; for "
        "less than about 3 photons per voxel.",
    )

    @property
    def gives_strength(self) -> bool:
        """Whether anything is said about the strength of the noise."""
        known = (self.gain, self.sigma, self.outliers, self.dark, self.variance_map)
        return any(value is not None for value in known)

    @model_validator(mode="after")
    def _camera_is_complete(self) -> Self:
        camera = {"offset": self.offset, "read_noise": self.read_noise}
        given = [name for name, value in camera.items() if value is not None]
        if given and self.gain is None:
            raise ValueError(
                f"{' and '.join(given)} alone cannot be used: the unit of the noise is "
                f"set by the gain; give gain as well, or none of them to have the "
                f"noise estimated from the stack"
            )
        if self.noise == "camera" and (self.gain is None or len(given) < 2):
            raise ValueError(
                "noise='camera' needs gain, offset and read_noise; give all three or "
                "use noise='auto'"
            )
        return self

    @model_validator(mode="after")
    def _darkness_is_told_once(self) -> Self:
        numbers = {"offset": self.offset, "read_noise": self.read_noise}
        given = [f"{k}={v:g}" for k, v in numbers.items() if v is not None]
        if given and self.variance_map is not None:
            raise ValueError(
                f"{' and '.join(given)} cannot be used together with offset_map and "
                f"variance_map, which tell the same of every pixel; leave one of the "
                f"two out"
            )
        return self

    @model_validator(mode="after")
    def _known_values_fit_the_noise(self) -> Self:
        for name, kinds in ASKED_BY_NOISE.items():
            value = getattr(self, name)
            if value not in (None, False) and self.noise not in kinds:
                raise ValueError(
                    f"{name}={value!r} has no meaning with noise={self.noise!r}; it "
                    f"belongs to noise={' or '.join(map(repr, kinds))}"
                )
        return self
