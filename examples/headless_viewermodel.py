"""Use the plugin's commands in a napari viewer without a window, and without Qt.

Run it with ``python headless_viewermodel.py``, also where there is no display.
"""

from __future__ import annotations

import argparse
import sys

from napari.components import ViewerModel
from npe2 import PluginManager

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--shape", type=int, nargs=3, default=(16, 128, 128))
arguments = parser.parse_args()

plugins = PluginManager.instance()
plugins.discover()

viewer = ViewerModel()
viewer.open_sample("napari-blindspot", "nuclei", shape=tuple(arguments.shape))
viewer.layers.selection.active = viewer.layers["nuclei noisy"]

# The command denoises the active layer and adds the result to the viewer.
options = {"steps": arguments.steps, "uncertainty": True}
plugins.commands.execute("napari-blindspot.denoise_fast", args=(viewer, options))

for layer in viewer.layers:
    print(f"{layer.name}: {layer.data.shape} {layer.dtype}, scale {layer.scale}")
if "qtpy" in sys.modules:
    sys.exit("Qt was imported, but this script shall run without it.")
