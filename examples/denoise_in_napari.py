"""Denoise in a napari window from a script, without freezing the window.

Run it with ``napari denoise_in_napari.py`` or ``python denoise_in_napari.py``. With
the environment variable ``BLINDSPOT_EXAMPLE=short`` it takes seconds and closes the
window at the end.
"""

from __future__ import annotations

import os

import napari
from napari.qt.threading import thread_worker

import napari_blindspot

short = os.environ.get("BLINDSPOT_EXAMPLE") == "short"
shape, steps = ((8, 64, 64), 2) if short else ((32, 256, 256), 400)

viewer = napari.Viewer()
viewer.open_sample("napari-blindspot", "nuclei", shape=shape)
noisy = viewer.layers["nuclei noisy"]
noisy.colormap = "green"


def show(result: napari_blindspot.Result) -> None:
    """Add the result; napari calls this in the thread that may do so."""
    place = {
        "scale": noisy.scale,
        "units": noisy.units,
        "axis_labels": noisy.axis_labels,
    }
    viewer.add_image(
        result.uncertainty, name="uncertainty", colormap="magma", visible=False, **place
    )
    viewer.add_image(
        result.image,
        name="denoised",
        colormap=noisy.colormap,
        contrast_limits=noisy.contrast_limits,
        metadata=result.provenance,
        **place,
    )
    print(f"layers: {', '.join(layer.name for layer in viewer.layers)}")
    if short:
        viewer.close()


def complain(error: Exception) -> None:
    """Say what went wrong instead of ending the program."""
    print(f"Not denoised: {error}")
    if short:
        viewer.close()


@thread_worker(connect={"returned": show, "errored": complain})
def denoise() -> napari_blindspot.Result:
    """Denoise in a thread of its own, so that the window stays alive."""
    return napari_blindspot.denoise(noisy, steps=steps, uncertainty=True)


denoise()
napari.run()
