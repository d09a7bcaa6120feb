"""The widgets for what is known about the noise; what is left empty is estimated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from magicgui.types import FileDialogMode
from magicgui.widgets import ComboBox, FileEdit, LineEdit

from napari_blindspot._napari.fields import (
    bare,
    check_box,
    default,
    described,
    help_text,
    optional_text,
    shown,
)
from napari_blindspot._napari.layout import Rows
from napari_blindspot.config import ASKED_BY_NOISE, FixedPattern, NoiseChoice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot._napari.fields import Field

ESTIMATE = "estimate"


class NoiseForm(Rows):
    """Widgets for the noise and the blind spot, each under the name of its setting."""

    def __init__(self) -> None:
        self.noise = ComboBox(
            choices=get_args(NoiseChoice), **described("noise", "Kind of noise")
        )
        self.gain = optional_text("gain", "Gain", empty=ESTIMATE)
        self.offset = optional_text("offset", "Offset", empty=ESTIMATE)
        self.read_noise = optional_text("read_noise", "Read noise", empty=ESTIMATE)
        self.sigma = optional_text("sigma", "Sigma", empty=ESTIMATE)
        self.outliers = optional_text("outliers", "Outliers", empty=ESTIMATE)
        self.low_counts = check_box("low_counts", "Exact photon counting")
        self.dark = FileEdit(
            mode=FileDialogMode.EXISTING_FILE, **bare("dark", "Dark stack")
        )
        self.fixed_pattern = ComboBox(
            choices=get_args(FixedPattern),
            **described("fixed_pattern", "Fixed pattern"),
        )
        self.noise_per_plane = check_box("noise_per_plane", "Noise differs per plane")
        self.hole = LineEdit(
            value=sizes_text(default("hole")),
            name="hole",
            label="Blind spot",
            tooltip=help_text("hole"),
        )
        self._all: tuple[Field, ...] = (
            self.noise, self.gain, self.offset, self.read_noise, self.sigma,
            self.outliers, self.low_counts, self.dark, self.fixed_pattern,
            self.noise_per_plane, self.hole,
        )  # fmt: skip
        super().__init__("noise_form", self._all)
        self.noise.changed.connect(self._show_asked)
        self._show_asked()

    def given(self) -> dict[str, Any]:
        """Return what was changed, by the names of the settings, not yet checked."""
        values = {one.name: shown(one) for one in self._all if self._is_asked(one)}
        values["hole"] = tuple(values["hole"].replace(",", " ").split())
        return {
            name: value
            for name, value in values.items()
            if value not in ("", ()) and not _is_default(name, value)
        }

    def _is_asked(self, widget: Field) -> bool:
        return self.noise.value in ASKED_BY_NOISE.get(widget.name, (self.noise.value,))

    def _show_asked(self) -> None:
        for widget in self._all:
            if widget.name in ASKED_BY_NOISE:
                widget.visible = self._is_asked(widget)


def sizes_text(sizes: Sequence[int]) -> str:
    """Return the sizes of a blind spot as they are typed: ``"1 1 5"``."""
    return " ".join(map(str, sizes))


def _is_default(name: str, value: Any) -> bool:
    if name == "hole":
        return sizes_text(value) == sizes_text(default(name))
    return bool(value == default(name))
