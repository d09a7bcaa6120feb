"""Denoise a microscopy stack with a blind-spot network trained on that very stack.

The public names are imported when they are first used, so that
``import napari_blindspot`` stays instant and loads no torch, dask, zarr, napari or Qt.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_blindspot._version import __version__
    from napari_blindspot.api import (
        Result,
        denoise,
        diagnose,
        distill,
        estimate_noise,
        predict,
        preview,
        shipped_student,
        train,
    )
    from napari_blindspot.batch import FolderResult, denoise_folder
    from napari_blindspot.io import open_stack
    from napari_blindspot.model import Model
    from napari_blindspot.model_file import load_model, save_model
    from napari_blindspot.progress import CancelToken, Progress
    from napari_blindspot.quality import Comparison
    from napari_blindspot.reporting.comparing import compare
    from napari_blindspot.reporting.findings import Diagnosis
    from napari_blindspot.reporting.report import write_report
    from napari_blindspot.stack import Stack, VoxelSize

_HOME = {
    "CancelToken": "progress",
    "Comparison": "quality",
    "Diagnosis": "reporting.findings",
    "FolderResult": "batch",
    "Model": "model",
    "Progress": "progress",
    "Result": "api",
    "Stack": "stack",
    "VoxelSize": "stack",
    "__version__": "_version",
    "compare": "reporting.comparing",
    "denoise": "api",
    "denoise_folder": "batch",
    "diagnose": "api",
    "distill": "api",
    "estimate_noise": "api",
    "load_model": "model_file",
    "open_stack": "io",
    "predict": "api",
    "preview": "api",
    "save_model": "model_file",
    "shipped_student": "api",
    "train": "api",
    "write_report": "reporting.report",
}

__all__ = [
    "CancelToken",
    "Comparison",
    "Diagnosis",
    "FolderResult",
    "Model",
    "Progress",
    "Result",
    "Stack",
    "VoxelSize",
    "__version__",
    "compare",
    "denoise",
    "denoise_folder",
    "diagnose",
    "distill",
    "estimate_noise",
    "load_model",
    "open_stack",
    "predict",
    "preview",
    "save_model",
    "shipped_student",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
