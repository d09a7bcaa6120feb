"""Settings of what can be turned: blind spots, students, strength."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from napari_blindspot.config.base import Settings
from napari_blindspot.config.students import StudentSize

if TYPE_CHECKING:
    from napari_blindspot.config import DenoiseSettings, TrainSettings

LARGEST_HOLE = 63
_WITHOUT_UNCERTAINTY = ("atbsn", "blind2grad")
HoleSize = Annotated[int, Field(ge=1, le=LARGEST_HOLE)]
HoleSizes = tuple[HoleSize, HoleSize, HoleSize]


def refuse_shapeless(name: str, settings: Any, word: str | None = None) -> None:
    """Refuse what are not three sizes, before it is parsed.

    Parameters
    ----------
    name
        Of the setting.
    settings
        All settings as they were given.
    word
        That may stand in place of the sizes.

    Raises
    ------
    ValueError
        With the sentence for the user, without its full stop.
    """
    hole = settings.get(name) if isinstance(settings, dict) else None
    if hole is None or (isinstance(hole, str) and hole == word):
        return
    sizes = hole if isinstance(hole, (tuple, list)) else ()
    if len(sizes) == 3 and all(
        isinstance(size, Real) and 1 <= float(size) <= LARGEST_HOLE for size in sizes
    ):
        return
    instead = f", or {word!r}" if word else ""
    raise ValueError(
        f"{name}={hole!r} is no blind spot; give three odd sizes z y x from 1 to "
        f"{LARGEST_HOLE}, such as (1, 1, 5){instead}"
    )


def refuse_even(name: str, hole: object) -> None:
    """Refuse a hole that has no centre.

    Raises
    ------
    ValueError
        With the sentence for the user, without its full stop.
    """
    if isinstance(hole, tuple) and any(size % 2 == 0 for size in hole):
        raise ValueError(
            f"{name}={hole} has an even size; a blind spot has a centre, so give odd "
            f"sizes such as (1, 1, 1) or (1, 1, 5)"
        )


class GivenHole(Settings):
    """A blind spot in three sizes, z y x."""

    hole: HoleSizes

    @model_validator(mode="before")
    @classmethod
    def _hole_has_a_shape(cls, given: Any) -> Any:
        refuse_shapeless("hole", given)
        return given

    @model_validator(mode="after")
    def _hole_is_odd(self) -> Self:
        refuse_even("hole", self.hole)
        return self


class HoleSettings(Settings):
    """The blind spot of the result."""

    hole: HoleSizes | Literal["auto"] | None = Field(
        None,
        description="Blind spot z y x in voxels, odd: 1 1 1 for white noise, larger "
        "where neighbours share their noise; auto: from the noise of the stack. A "
        "trained model answers for every size. Default: 1 1 1, with method atbsn "
        "1 3 3.",
    )

    @model_validator(mode="before")
    @classmethod
    def _hole_has_a_shape(cls, given: Any) -> Any:
        refuse_shapeless("hole", given, "auto")
        return given

    @model_validator(mode="after")
    def _hole_is_odd(self) -> Self:
        refuse_even("hole", self.hole)
        return self


class StrengthSettings(Settings):
    """How much of the denoising is wanted."""

    strength: float = Field(
        1.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="1: denoised; 0: the noisy image; between them a blend.",
    )


class TunableSettings(HoleSettings):
    """Blind spot of the training, and whether a student is taught."""

    train_hole: HoleSizes | None = Field(
        None,
        description="Blind spot z y x during training; default: that of hole, with "
        "method atbsn 1 9 9.",
    )

    @model_validator(mode="before")
    @classmethod
    def _train_hole_has_a_shape(cls, given: Any) -> Any:
        refuse_shapeless("train_hole", given)
        return given

    @model_validator(mode="after")
    def _train_hole_is_odd(self) -> Self:
        refuse_even("train_hole", self.train_hole)
        if self.train_hole is None or not isinstance(self.hole, tuple):
            return self
        if any(
            large > small
            for large, small in zip(self.hole, self.train_hole, strict=True)
        ):
            raise ValueError(
                f"hole={self.hole} is larger than train_hole={self.train_hole}; a "
                f"network answers best for holes up to the one it was trained with, "
                f"so give a train_hole that holds the hole"
            )
        return self


class StudentChoice(Settings):
    """Whether a student does the work."""

    student: Literal[StudentSize, "none"] | None = Field(
        None,
        description="Teach a small plain network what the trained one says and denoise "
        "with that, several times faster: tiny, small or full; none: the trained "
        "network itself. Default: none, with method atbsn small on a CPU, else full.",
    )


def refuse_tuned(settings: TrainSettings) -> None:
    """Refuse what the method of tunable blind spots cannot do.

    Raises
    ------
    ValueError
        With the sentence for the user, without its full stop.
    """
    if settings.method != "atbsn":
        return
    given = {
        "unknown": settings.unknown != "estimate",
        "stop_gradient": settings.stop_gradient,
        "low_counts": settings.low_counts,
    }
    meaningless = [name for name, is_given in given.items() if is_given]
    if meaningless:
        raise ValueError(
            f"{' and '.join(meaningless)} has no meaning with method='atbsn', which "
            f"compares absolute values and needs no noise model; leave it out, or use "
            f"method='bayesian'"
        )


def refuse_uncertainty(settings: DenoiseSettings) -> None:
    """Refuse an uncertainty where it is clear beforehand that there will be none.

    Raises
    ------
    ValueError
        With the sentence for the user, without its full stop.
    """
    if not settings.uncertainty:
        return
    if settings.student not in (None, "none"):
        raise ValueError(
            f"uncertainty=True cannot be given with student={settings.student!r}, "
            f"which answers without one; leave out one of the two"
        )
    if settings.model is None and settings.method in _WITHOUT_UNCERTAINTY:
        raise ValueError(
            f"uncertainty=True cannot be given with method={settings.method!r}, which "
            f"knows none; leave it out, or use method='bayesian'"
        )
