"""Where the real stacks lie that tests and benchmarks may use."""

from __future__ import annotations

import os
from pathlib import Path

_DEFAULT = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def find_data() -> Path:
    """Return the folder of real stacks.

    It is the one named by the environment variable ``BLINDSPOT_DATA``, or
    ``../shared/data`` beside the repository.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, with the sentence to show.
    """
    folder = Path(os.environ.get("BLINDSPOT_DATA") or _DEFAULT)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The real stacks are not in {folder}; set BLINDSPOT_DATA to the folder "
            f"that holds them."
        )
    return folder
