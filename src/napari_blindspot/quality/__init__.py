"""How far two stacks agree: errors, structure, resolution and intensity.

`compare_stacks` reads both once, piece by piece; the files beside it hold one figure
each. Only numpy, scipy and scikit-image are needed.
"""

from __future__ import annotations

from napari_blindspot.quality.comparison import ChannelQuality, Comparison
from napari_blindspot.quality.fourier import FourierCurve, fourier_correlation
from napari_blindspot.quality.intensity import IntensityBin, IntensityCheck
from napari_blindspot.quality.measure import compare_stacks
from napari_blindspot.quality.pixels import PixelErrors

__all__ = [
    "ChannelQuality",
    "Comparison",
    "FourierCurve",
    "IntensityBin",
    "IntensityCheck",
    "PixelErrors",
    "compare_stacks",
    "fourier_correlation",
]
