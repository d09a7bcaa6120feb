"""Importing the package and asking for help must stay instant."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "dask",
    "zarr",
    "napari",
    "qtpy",
    "tifffile",
    "skimage",
)
NOT_FOR_HELP = (*HEAVY, "scipy", "numpy")


def modules_loaded_by(code: str, of: tuple[str, ...] = HEAVY) -> set[str]:
    """Run code in a fresh interpreter and return which of some modules it loaded."""
    report = f"import sys; print(*[m for m in {of!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import napari_blindspot", id="package"),
        pytest.param("import napari_blindspot.cli", id="shell"),
        pytest.param("import napari_blindspot.methods", id="method-registry"),
        pytest.param("import napari_blindspot.sample", id="sample-data"),
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert modules_loaded_by(code) == set()


def test_the_probe_sees_a_heavy_module() -> None:
    assert "tifffile" in modules_loaded_by("import tifffile")


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["denoise"],
        ["train"],
        ["distill"],
        ["preview"],
        ["demo"],
        ["info"],
        ["compare"],
        ["diagnose"],
    ],
    ids=lambda command: "".join(command) or "all",
)
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    words = [*command, "--help"]
    asked = f"from napari_blindspot.cli import main; main({words!r})"
    assert modules_loaded_by(asked, NOT_FOR_HELP) == set()
