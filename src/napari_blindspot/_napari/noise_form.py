"""The widgets for what is known about the noise; what is left empty is estimated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.types import FileDialogMode
from magicgui.widgets import FileEdit

from napari_blindspot._napari.asked_form import AskedForm
from napari_blindspot._napari.fields import (
    bare,
    check_box,
    choice,
    optional_text,
)
from napari_blindspot.config import ASKED_BY_NOISE
from napari_blindspot.config.objective import LEARNED

if TYPE_CHECKING:
    from napari_blindspot._napari.fields import Field

ESTIMATE = "estimate"
_ASKED = {**ASKED_BY_NOISE, "unknown": tuple(LEARNED)}


class NoiseForm(AskedForm):
    """Widgets for the noise, each under the name of its setting."""

    def __init__(self) -> None:
        self.noise = choice("noise", "Kind of noise")
        self.gain = optional_text("gain", "Gain", empty=ESTIMATE)
        self.offset = optional_text("offset", "Offset", empty=ESTIMATE)
        self.read_noise = optional_text("read_noise", "Read noise", empty=ESTIMATE)
        self.sigma = optional_text("sigma", "Sigma", empty=ESTIMATE)
        self.outliers = optional_text("outliers", "Outliers", empty=ESTIMATE)
        self.unknown = choice("unknown", "If unknown")
        self.low_counts = check_box("low_counts", "Exact photon counting")
        self.dark = _image_file("dark", "Dark stack")
        self.offset_map = _image_file("offset_map", "Offset map")
        self.variance_map = _image_file("variance_map", "Variance map")
        self.gain_map = _image_file("gain_map", "Gain map")
        self.fixed_pattern = choice("fixed_pattern", "Fixed pattern")
        self.noise_per_plane = check_box("noise_per_plane", "Noise differs per plane")
        fields = (
            self.noise, self.gain, self.offset, self.read_noise, self.sigma,
            self.outliers, self.unknown, self.low_counts, self.dark, self.offset_map,
            self.variance_map, self.gain_map, self.fixed_pattern,
            self.noise_per_plane,
        )  # fmt: skip
        super().__init__("noise_form", fields)
        self.noise.changed.connect(self._show_asked)
        self._show_asked()

    def is_asked(self, widget: Field) -> bool:
        """Return whether a setting has a meaning with the kind of noise."""
        return self.noise.value in _ASKED.get(widget.name, (self.noise.value,))

    def _show_asked(self) -> None:
        for widget in self._all:
            if widget.name in _ASKED:
                widget.visible = self.is_asked(widget)


def _image_file(name: str, label: str) -> FileEdit:
    return FileEdit(mode=FileDialogMode.EXISTING_FILE, **bare(name, label))
