"""Blind spots, students and strength: what the widgets show, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_blindspot._napari.form import DenoiseForm
from napari_blindspot._napari.hole_edit import AUTO, DEFAULT, OWN
from napari_blindspot.config import DenoiseSettings
from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari import Viewer
    from pytestqt.qtbot import QtBot

    from napari_blindspot._napari.panel import DenoisePanel


@pytest.fixture
def form(qtbot: QtBot) -> DenoiseForm:
    """The widgets alone, without a viewer, the blind spot unfolded."""
    widgets = DenoiseForm()
    qtbot.addWidget(widgets.native)
    widgets.show()
    widgets.tunable_fold.unfold()
    return widgets


@pytest.mark.parametrize(
    ("choice", "meant"), [(DEFAULT, None), (AUTO, "auto"), (OWN, (1, 3, 5))]
)
def test_a_chosen_blind_spot_becomes_a_setting(
    form: DenoiseForm, choice: str, meant: object
) -> None:
    form.tunable.hole.sizes.value = (1, 3, 5)
    form.tunable.hole.choice.value = choice
    assert form.settings() == DenoiseSettings(quality="balanced", hole=meant)


def test_boxes_are_shown_for_own_sizes_alone(form: DenoiseForm) -> None:
    hole = form.tunable.hole
    for choice in (OWN, AUTO, OWN, DEFAULT):
        hole.choice.value = choice
        assert hole.sizes.visible == (choice == OWN)


@pytest.mark.parametrize(
    "options",
    [
        {"hole": "auto"},
        {"hole": (1, 3, 3)},
        {"hole": (1, 1, 3), "train_hole": (1, 3, 9)},
        {"method": "atbsn", "train_hole": (1, 5, 5)},
        {"student": "none"},
        {"student": "tiny", "strength": 0.25},
    ],
    ids=str,
)
def test_options_are_shown_and_read_back(
    form: DenoiseForm, options: dict[str, object]
) -> None:
    form.set_options(**options)
    assert form.settings() == DenoiseSettings(quality="balanced", **options)


def test_none_takes_all_of_them_back_to_the_default(form: DenoiseForm) -> None:
    form.set_options(hole=(1, 1, 3), train_hole=(1, 3, 9), student="tiny")
    form.set_options(hole=None, train_hole=None, student=None)
    assert form.settings() == DenoiseSettings(quality="balanced")


@pytest.mark.parametrize(
    "options",
    [{"hole": "small"}, {"hole": (3, 3)}, {"train_hole": "auto"}, {"student": "huge"}],
    ids=str,
)
def test_a_choice_that_is_not_offered_is_named(
    form: DenoiseForm, options: dict[str, object]
) -> None:
    with pytest.raises(InputError, match="cannot be chosen in the panel"):
        form.set_options(**options)


def test_an_even_blind_spot_is_refused_when_it_is_read(form: DenoiseForm) -> None:
    form.tunable.hole.value = (1, 1, 4)
    with pytest.raises(InputError, match="even size"):
        form.settings()


def test_the_hole_of_the_training_is_asked_where_it_may_differ(
    form: DenoiseForm,
) -> None:
    asked = form.tunable.train_hole
    assert not asked.visible
    form.tunable.hole.value = (1, 3, 3)
    assert asked.visible
    form.tunable.hole.value = "auto"
    assert not asked.visible
    form.advanced.method.value = "atbsn"
    assert asked.visible


def test_a_blind_spot_may_be_turned_beside_a_model(
    form: DenoiseForm, tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    form.advanced.model.value = path
    form.set_options(hole=(1, 3, 3), strength=0.5, student="tiny")
    assert form.settings() == DenoiseSettings(
        model=path, hole=(1, 3, 3), strength=0.5, student="tiny"
    )


def test_every_turn_of_a_knob_is_told(form: DenoiseForm) -> None:
    told: list[object] = []
    form.tunable.hole.changed.connect(told.append)
    form.tunable.hole.choice.value = OWN
    form.tunable.hole.sizes[2].value = 3
    form.tunable.hole.choice.value = AUTO
    assert told == [(1, 1, 1), (1, 1, 3), "auto"]


def test_the_proposed_blind_spot_is_shown_unfolded(
    cells: tuple[Viewer, DenoisePanel],
) -> None:
    _, panel = cells
    panel.noise_tab.hole_chosen.emit((1, 3, 5))
    assert panel.form.tunable.hole.value == (1, 3, 5)
    assert not panel.form.tunable.native.isHidden()


def test_a_method_without_a_blind_spot_does_not_ask_for_one(form: DenoiseForm) -> None:
    hole, method = form.tunable.hole, form.advanced.method
    assert "blind2grad" in method.choices
    method.value = "blind2grad"
    assert not hole.visible
    assert form.settings() == DenoiseSettings(quality="balanced", method="blind2grad")
    method.value = "bayesian"
    assert hole.visible


def test_a_chosen_blind_spot_is_refused_by_a_method_without_one(
    form: DenoiseForm,
) -> None:
    form.set_options(hole=(1, 1, 3))
    form.advanced.method.value = "blind2grad"
    assert form.tunable.hole.visible
    with pytest.raises(InputError, match="hole has no meaning with method='blind2grad"):
        form.settings()
