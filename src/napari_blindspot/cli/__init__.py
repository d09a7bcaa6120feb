"""The shell command ``napari-blindspot``.

Torch, dask and zarr are imported inside the commands, so that ``--help`` is instant.
"""

from __future__ import annotations

# Importing a module of commands adds them to the program.
from napari_blindspot.cli import denoising, looking, students
from napari_blindspot.cli.program import app, main

__all__ = ["app", "denoising", "looking", "main", "students"]
