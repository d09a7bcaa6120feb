"""Commands of the palette and of Layers > Filter.

In a viewer with a window a command opens the panel and presses Run there, so that
progress and Cancel are where the user looks for them. In a bare `ViewerModel`, in a
script without Qt, the same command runs to its end before it returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import napari  # noqa: TC002 - napari injects the viewer by this annotation
from napari.layers import Image

from napari_blindspot.config import (
    DenoiseSettings,
    DiagnoseSettings,
    Quality,
    parse_settings,
)
from napari_blindspot.errors import InputError
from napari_blindspot.progress import run

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_blindspot._napari.panel import DenoisePanel

Options = dict[str, object]
# Not **options: napari's injection passes such a parameter as an empty dict.

PLUGIN = "napari-blindspot"
PANEL = "Denoise"


def denoise_fast(viewer: napari.Viewer, options: Options | None = None) -> None:
    """Denoise the selected layer with the quality ``fast``."""
    denoise_selected(viewer, "fast", options)


def denoise_balanced(viewer: napari.Viewer, options: Options | None = None) -> None:
    """Denoise the selected layer with the quality ``balanced``."""
    denoise_selected(viewer, "balanced", options)


def denoise_best(viewer: napari.Viewer, options: Options | None = None) -> None:
    """Denoise the selected layer with the quality ``best``."""
    denoise_selected(viewer, "best", options)


def denoise_selected(
    viewer: ViewerModel, quality: Quality, options: Options | None = None
) -> None:
    """Denoise the active layer and add the result as a new layer.

    Parameters
    ----------
    viewer
        A viewer, or a `ViewerModel` without a window.
    quality
        Training budget.
    options
        More settings by name, as in `DenoiseSettings`; ``minutes`` or ``steps``
        replace the quality.

    Raises
    ------
    InputError
        Without a window: if there is no active image layer or a setting does not
        fit. With a window such errors are shown there.
    """
    given = dict(options or {})
    if not given.keys() & {"quality", "minutes", "steps"}:
        given["quality"] = quality
    if getattr(viewer, "window", None) is not None:
        _run_in_panel(viewer, given)
        return
    from napari_blindspot._napari.denoising import denoise_layer
    from napari_blindspot._napari.layers import add_layers

    settings = parse_settings(DenoiseSettings, **given)
    add_layers(viewer, run(denoise_layer(active_image(viewer), settings)).layers)


def active_image(viewer: ViewerModel) -> Image:
    """Return the active image layer of a viewer.

    Raises
    ------
    InputError
        If the active layer is not an image, or several or no layers are selected.
    """
    active = viewer.layers.selection.active
    if not isinstance(active, Image):
        found = "nothing" if active is None else f"{active.name!r}"
        raise InputError(
            f"The active layer is {found}, but an image layer is needed; select one "
            f"image layer in the layer list and try again."
        )
    return active


def diagnose_noise(viewer: napari.Viewer) -> None:
    """Diagnose the noise of the active layer, and show it in the panel's tab.

    Raises
    ------
    InputError
        Without a window: if there is no active image layer, or it cannot be diagnosed.
        With a window such errors are shown there.
    """
    if getattr(viewer, "window", None) is not None:
        _diagnose_in_panel(viewer)
        return
    from napari.utils.notifications import show_info

    from napari_blindspot._napari.diagnosing import diagnose_layer

    diagnosis = run(diagnose_layer(active_image(viewer), DiagnoseSettings()))
    show_info(" ".join(diagnosis.sentences()))


def _run_in_panel(viewer: ViewerModel, options: Options) -> None:
    from napari.utils.notifications import show_error

    try:
        layer = active_image(viewer)
        panel = _open_panel(viewer)
        if panel.running:
            raise InputError(
                "The panel is denoising a layer already; wait for it or press Cancel."
            )
        panel.layer.value = layer
        panel.set_options(**options)
    except InputError as error:
        show_error(str(error))
    else:
        panel.run()


def _diagnose_in_panel(viewer: ViewerModel) -> None:
    from napari.utils.notifications import show_error

    try:
        layer = active_image(viewer)
        panel = _open_panel(viewer)
        if panel.running or panel.noise_tab.running:
            raise InputError(
                "The panel is at work on a layer already; wait for it or press Cancel."
            )
    except InputError as error:
        show_error(str(error))
    else:
        panel.layer.value = layer
        panel.show_noise()
        panel.noise_tab.run()


def _open_panel(viewer: ViewerModel) -> DenoisePanel:
    panel: DenoisePanel
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, PANEL)
    return panel
