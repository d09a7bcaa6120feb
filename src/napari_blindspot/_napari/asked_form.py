"""A form of settings of which some have a meaning only beside certain others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_blindspot._napari.fields import default, shown
from napari_blindspot._napari.layout import Rows

if TYPE_CHECKING:
    from napari_blindspot._napari.fields import Field


class AskedForm(Rows):
    """Widgets that are each named after their setting.

    Parameters
    ----------
    name
        Of the form.
    fields
        Its widgets, from the top.
    """

    def __init__(self, name: str, fields: tuple[Field, ...]) -> None:
        self._all = fields
        super().__init__(name, fields)

    def given(self) -> dict[str, Any]:
        """Return what was changed, by the names of the settings, not yet checked."""
        values = {one.name: shown(one) for one in self._all if self.is_asked(one)}
        return {
            name: value
            for name, value in values.items()
            if value not in ("", default(name))
        }

    def is_asked(self, widget: Field) -> bool:
        """Return whether a setting has a meaning beside the others."""
        raise NotImplementedError
