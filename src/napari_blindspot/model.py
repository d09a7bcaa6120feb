"""A trained model: the network, and what brings its answers into data units."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from napari_blindspot.config import parse_settings
from napari_blindspot.config.blind2grad import asked_shape
from napari_blindspot.config.tunable import GivenHole
from napari_blindspot.errors import InputError
from napari_blindspot.networks.blind2grad import Blind2GradNetwork
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.networks.student import StudentNetwork

if TYPE_CHECKING:
    from napari_blindspot.config import NetworkSettings
    from napari_blindspot.config.blind2grad import (
        AnswerSettings,
        MaskedNetworkSettings,
    )
    from napari_blindspot.config.students import StudentSettings
    from napari_blindspot.networks.blindspot import Hole
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.noise.recalibration import Recalibration
    from napari_blindspot.normalize import Normalization

    Shape = NetworkSettings | MaskedNetworkSettings | StudentSettings

Answer = Literal["posterior", "mean"]
Kind = Literal["teacher", "student", "masked"]
Learner = BlindSpotNetwork | Blind2GradNetwork

KINDS: dict[type[object], Kind] = {
    BlindSpotNetwork: "teacher",
    StudentNetwork: "student",
    Blind2GradNetwork: "masked",
}
"""What each kind of network is called in model files and in the provenance."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A trained network with everything that turns its answers into data units.

    Parameters
    ----------
    network
        A teacher, which is a blind-spot network, a masked network, or a student; on
        the CPU.
    scales
        Normalisation of each channel it was trained on.
    noise
        Noise model of each channel, data units.
    context_axis
        ``"z"``, ``"t"`` or ``"none"``: where its neighbour planes lie.
    method
        Name of the method it was trained by.
    provenance
        Where it comes from: versions, source, seed, steps, held-out score.
    recalibration
        Of each channel: factors on the prior variance and the noise that were found
        after training; empty: none.
    hole
        Blind spot (z, y, x) at which a teacher answers; default: the one it was
        trained with. Other networks have none.
    answer
        What a network answers that learned from noise: the ``"posterior"`` mean, or a
        ``"mean"`` alone, without the voxel's own value and without an uncertainty.
    """

    network: Learner | StudentNetwork
    scales: tuple[Normalization, ...]
    noise: tuple[NoiseModel, ...]
    context_axis: str
    method: str = "bayesian"
    provenance: dict[str, Any] = field(default_factory=dict)
    recalibration: tuple[Recalibration, ...] = ()
    hole: Hole | None = None
    answer: Answer = "posterior"

    def __post_init__(self) -> None:
        starts = getattr(self.settings, "starts", 1)
        if starts not in (1, self.n_channels):
            raise ValueError(
                f"a network with {starts} starts cannot denoise "
                f"{self.n_channels} channels one at a time; give it one start, or one "
                f"for every channel"
            )

    @property
    def kind(self) -> Kind:
        """Which kind of network it is."""
        return KINDS[type(self.network)]

    @property
    def is_student(self) -> bool:
        """Whether the network is a student: plain, without blind spot or posterior."""
        return self.kind == "student"

    @property
    def has_hole(self) -> bool:
        """Whether it answers behind a blind spot, which can be turned."""
        return self.kind == "teacher"

    @property
    def has_uncertainty(self) -> bool:
        """Whether it gives a posterior standard deviation beside its answer."""
        return not self.is_student and self.answer == "posterior"

    @property
    def learner(self) -> Learner:
        """The network that learned from noise itself, which can teach a student.

        Raises
        ------
        InputError
            If the model is a student.
        """
        if isinstance(self.network, StudentNetwork):
            raise InputError(
                "the model is a student, which has no blind spot and can teach no "
                "other; give the model of its teacher, as 'train' writes it."
            )
        return self.network

    @property
    def teacher(self) -> BlindSpotNetwork:
        """The network of a teacher.

        Raises
        ------
        InputError
            If the model is of another kind.
        """
        network = self.learner
        if isinstance(network, Blind2GradNetwork):
            raise InputError(
                f"the model was trained by method={self.method!r}, whose network has "
                f"no blind spot; give a model of method='bayesian' or 'atbsn'."
            )
        return network

    @property
    def result_hole(self) -> Hole:
        """The blind spot at which a teacher answers."""
        return self.hole or self.teacher.settings.hole

    @property
    def known_hole(self) -> list[int] | None:
        """The blind spot of the answer, None of a network without one."""
        return list(self.result_hole) if self.has_hole else None

    def at_hole(self, hole: Hole | None) -> Model:
        """Return a teacher that answers at another hole; None: as it is.

        What was found after training about its prior holds for its own hole alone; what
        was found about the noise holds for all.

        Raises
        ------
        InputError
            If the hole is not three odd sizes from 1 to 63, or the model has none.
        """
        if hole is None:
            return self
        hole = parse_settings(GivenHole, hole=hole).hole
        if hole == self.result_hole:
            return self
        kept = tuple(one.of_noise_alone() for one in self.recalibration)
        return replace(self, hole=hole, recalibration=kept)

    def asked(self, settings: AnswerSettings) -> Model:
        """Return a model of Blind2Grad that is asked otherwise; of nothing: as it is.

        Raises
        ------
        InputError
            If the model is of another kind, or there are too few passes.
        """
        if not settings.asked:
            return self
        network = copy.copy(self.network)  # with the same weights
        if not isinstance(network, Blind2GradNetwork):
            what = "a student" if self.is_student else f"of method={self.method!r}"
            names = " and ".join(settings.asked)
            raise InputError(
                f"{names} can be given with models of method='blind2grad' alone, but "
                f"the model is {what}; leave {names} out."
            )
        try:
            network.settings = asked_shape(network.settings, settings)
        except ValueError as error:
            raise InputError(f"{error}.") from error
        return replace(self, network=network)

    def recalibration_of(self, channel: int) -> Recalibration | None:
        """Return what corrects the prior of a channel, None if nothing does."""
        return self.recalibration[channel] if self.recalibration else None

    @property
    def settings(self) -> Shape:
        """The network's shape."""
        return self.network.settings

    @property
    def n_channels(self) -> int:
        """Channels that it knows the scale and noise of."""
        return len(self.scales)
