"""Open stacks and write results; the only room that imports tifffile and zarr.

Nothing heavy is loaded until a stack is opened or a sink is made.
"""

from __future__ import annotations

from napari_blindspot.io.open import open_stack
from napari_blindspot.io.outputs import check_output, uncertainty_path
from napari_blindspot.io.provenance import read_provenance
from napari_blindspot.io.sinks import Sink, open_sink

__all__ = [
    "Sink",
    "check_output",
    "open_sink",
    "open_stack",
    "read_provenance",
    "uncertainty_path",
]
