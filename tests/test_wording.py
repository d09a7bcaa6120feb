"""Sentences of the core, as the panel words them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import napari_blindspot as nb
from napari_blindspot._napari.wording import in_panel
from napari_blindspot.errors import OutputExistsError
from napari_blindspot.io.outputs import check_output
from napari_blindspot.training.checkpoint import BEGIN_ANEW

if TYPE_CHECKING:
    from pathlib import Path


def test_axes_are_typed_under_advanced() -> None:
    (note,) = nb.open_stack(np.zeros((4, 30, 30), np.uint16)).notes
    assert "pass axes='TYX' (or what it is) if that is wrong" in note
    told = in_panel(note)
    assert "type TYX (or what it is) as Axes under Advanced if that is wrong" in told
    assert "axes=" not in told


def test_an_output_is_replaced_by_a_box(tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    out.write_bytes(b"II*\0")
    with pytest.raises(OutputExistsError) as caught:
        check_output(out, nb.open_stack(np.zeros((30, 30), "f4")), overwrite=False)
    assert "--overwrite" in str(caught.value)
    told = in_panel(str(caught.value))
    assert told.endswith('with "Replace an existing output file" under Output.')


def test_a_training_that_is_kept_is_begun_anew_by_a_box() -> None:
    told = in_panel(f"{BEGIN_ANEW}.")
    assert "--" not in told
    assert "=True" not in told
    assert told.count("under Output") == 1


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "go on by --resume (resume=True), or begin anew with --overwrite "
            "(overwrite=True).",
            'go on by "Go on with an earlier run" under Output, or begin anew with '
            '"Replace an existing output file" under Output.',
        ),
        (
            "begin anew with --overwrite instead of --resume (overwrite=True instead "
            "of resume=True).",
            'begin anew with "Replace an existing output file" in the place of "Go on '
            'with an earlier run" under Output.',
        ),
        ("gain=-1 cannot be used; give 0.2.", "gain=-1 cannot be used; give 0.2."),
    ],
)
def test_the_words_of_shell_and_python_are_those_of_the_panel(
    said: str, shown: str
) -> None:
    assert in_panel(said) == shown
