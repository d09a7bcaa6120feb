"""Importing the package and asking for help must stay instant."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "dask", "zarr", "napari", "qtpy", "tifffile", "skimage")


def modules_loaded_by(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the heavy modules it loaded."""
    report = f"import sys; print(*[m for m in {HEAVY!r} if m in sys.modules])"
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
        pytest.param(
            "from napari_blindspot.cli import main; main(['denoise', '--help'])",
            id="denoise-help",
        ),
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert modules_loaded_by(code) == set()


def test_the_probe_sees_a_heavy_module() -> None:
    assert "tifffile" in modules_loaded_by("import tifffile")


@pytest.mark.parametrize(
    "command", [[], ["denoise"], ["train"], ["demo"], ["info"], ["compare"]]
)
def test_help_answers_in_half_a_second(command: list[str]) -> None:
    call = [sys.executable, "-m", "napari_blindspot", *command, "--help"]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(call, capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - start)
    print(f"{' '.join(command)} --help: {min(times):.2f} s")
    assert "Usage:" in done.stdout
    # The best of three: another process on the machine may slow down any one.
    assert min(times) < 0.5
