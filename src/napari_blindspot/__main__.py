"""Run the shell command as ``python -m napari_blindspot``."""

from __future__ import annotations

import sys

from napari_blindspot.cli import main

if __name__ == "__main__":
    sys.exit(main())
