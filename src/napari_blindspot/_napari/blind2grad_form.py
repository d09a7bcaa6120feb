"""The widgets of Blind2Grad: which voxels are hidden, what is learned, the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from magicgui.widgets import CheckBox, ComboBox, FloatSlider, SpinBox

from napari_blindspot._napari.asked_form import AskedForm
from napari_blindspot._napari.fields import (
    bare,
    choice,
    default,
    described,
    help_text,
    limits,
    optional_text,
)
from napari_blindspot.config.blind2grad import (
    METHOD,
    OMEGA,
    AnswerSettings,
    Average,
    MaskedNetworkSettings,
)

if TYPE_CHECKING:
    from magicgui.widgets import LineEdit

    from napari_blindspot._napari.fields import Field


USUAL = MaskedNetworkSettings().model_dump(include=set(AnswerSettings.model_fields))
"""How a network is asked where nothing is said."""


class Blind2GradForm(AskedForm):
    """Widgets for what Blind2Grad alone has, each named after its setting."""

    def __init__(self) -> None:
        self._is_meant = False
        self.mask = choice("mask", "Mask")
        self.detail_share = FloatSlider(
            step=0.05,
            **limits("detail_share"),
            **described("detail_share", "Detail shown"),
        )
        self.eps_g = _number("eps_g", "Detail (ε_g)")
        self.standout = choice("standout", "T-standout")
        self.eps_s = _number("eps_s", "Edges (ε_s)")
        self.omega = optional_text(
            "omega",
            "Gradients (ω)",
            empty=f"{OMEGA['plain']:g}, real {OMEGA['real']:g}",
        )
        self.gamma = _number("gamma", "Values (γ)")
        self.loss_form = choice("loss_form", "Loss")
        self.variant = choice("variant", "Variant")
        self.passes = SpinBox(
            value=USUAL["passes"], **limits("passes"), **bare("passes", "Passes")
        )
        self.average = ComboBox(
            value=USUAL["average"],
            choices=get_args(Average),
            **bare("average", "Averaged"),
        )
        self.combine = CheckBox(
            value=USUAL["combine"],
            text="Use the voxel's own value",
            name="combine",
            tooltip=help_text("combine"),
        )
        fields: tuple[Field, ...] = (
            self.mask, self.detail_share, self.eps_g, self.standout, self.eps_s,
            self.omega, self.gamma, self.loss_form, self.variant, self.passes,
            self.average, self.combine,
        )  # fmt: skip
        super().__init__("blind2grad", fields)

    def given(self) -> dict[str, Any]:
        """Return what was changed; a model brings what is usual along."""
        return {
            name: value
            for name, value in super().given().items()
            if value != USUAL.get(name)
        }

    def meant_for(self, method: str) -> bool:
        """Return whether the settings have a meaning with a method, the chosen one."""
        self._is_meant = method == METHOD
        return self._is_meant

    def is_asked(self, widget: Field) -> bool:
        """Return whether the chosen method has the settings: all of them or none."""
        del widget
        return self._is_meant


def _number(name: str, label: str) -> LineEdit:
    """Return a field for a number without an upper limit; empty: the default."""
    return optional_text(name, label, empty=f"{default(name):g}")
