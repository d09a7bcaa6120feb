"""The widgets for what can be turned: blind spots, the student, the strength."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from magicgui.widgets import ComboBox, FloatSlider

from napari_blindspot._napari.asked_form import AskedForm
from napari_blindspot._napari.fields import bare, described
from napari_blindspot._napari.hole_edit import DEFAULT, HoleEdit
from napari_blindspot.config.students import StudentSize
from napari_blindspot.methods import METHODS

if TYPE_CHECKING:
    from napari_blindspot._napari.fields import Field

STUDENTS = [(DEFAULT, ""), *((size, size) for size in ("none", *get_args(StudentSize)))]


class TunableForm(AskedForm):
    """Widgets for blind spots, student and strength, each named after its setting."""

    def __init__(self) -> None:
        self._own_training, self._has_hole = False, True
        self.hole = HoleEdit("hole", "Blind spot", auto=True)
        self.train_hole = HoleEdit("train_hole", "In training", auto=False)
        self.student = ComboBox(choices=STUDENTS, **bare("student", "Student"))
        self.strength = FloatSlider(
            min=0.0, max=1.0, step=0.05, **described("strength", "Strength")
        )
        super().__init__(
            "tunable", (self.hole, self.train_hole, self.student, self.strength)
        )
        self.hole.changed.connect(self._show_asked)
        self._show_asked()

    def meant_for(self, method: str) -> None:
        """Show what the method has: a hole, and perhaps another for the training."""
        self._own_training = METHODS[method].train_hole is not None
        self._has_hole = METHODS[method].network == "blind spot"
        self._show_asked()

    def is_asked(self, widget: Field) -> bool:
        """Return whether a setting has a meaning beside the others.

        A hole that was chosen for the training stays in sight, so that the choice is
        not lost without a word.
        """
        if widget is self.hole:
            return self._has_hole or widget.value is not None
        if widget is not self.train_hole:
            return True
        chosen = isinstance(self.hole.value, tuple) or widget.value is not None
        return self._own_training or chosen

    def _show_asked(self) -> None:
        for widget in (self.hole, self.train_hole):
            widget.visible = self.is_asked(widget)
