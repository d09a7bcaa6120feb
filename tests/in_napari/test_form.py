from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_blindspot._napari.form import DenoiseForm
from napari_blindspot.config import DenoiseSettings
from napari_blindspot.errors import InputError
from napari_blindspot.methods import METHODS

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot


@pytest.fixture
def form(qtbot: QtBot) -> DenoiseForm:
    """The widgets alone, without a viewer."""
    widgets = DenoiseForm()
    qtbot.addWidget(widgets.native)
    return widgets


def test_method_list_comes_from_the_registry(form: DenoiseForm) -> None:
    assert list(form.method.choices) == list(METHODS)


def test_widgets_become_settings(form: DenoiseForm, tmp_path: Path) -> None:
    form.budget.value = "minutes"
    form.minutes.value = 3.5
    form.uncertainty.value = True
    form.advanced.context.value = "none"
    form.advanced.axes.value = " ZYX "
    form.advanced.dtype.value = "same"
    form.advanced.seed.value = 7
    form.output.value = tmp_path / "result.ome.zarr"
    settings = form.settings()
    assert (settings.minutes, settings.quality, settings.steps) == (3.5, None, None)
    assert settings.uncertainty
    assert settings.context == "none"
    assert settings.axes == "ZYX"
    assert settings.dtype == "same"
    assert settings.seed == 7
    assert settings.model is None
    assert form.out() == tmp_path / "result.ome.zarr"


def test_a_model_brings_its_training_along(form: DenoiseForm, tmp_path: Path) -> None:
    form.budget.value = "minutes"
    form.advanced.seed.value = 7
    form.advanced.dtype.value = "same"
    form.advanced.model.value = tmp_path / "net.safetensors"
    settings = form.settings()
    assert settings.model == tmp_path / "net.safetensors"
    assert (settings.minutes, settings.seed) == (None, 0)
    assert settings.dtype == "same"


def test_untouched_widgets_mean_the_default_settings(form: DenoiseForm) -> None:
    assert form.settings() == DenoiseSettings(quality="balanced")
    assert form.out() is None


def test_only_the_chosen_limit_is_shown(form: DenoiseForm) -> None:
    form.show()
    for chosen, shown in {
        "fast": (False, False),
        "minutes": (True, False),
        "steps": (False, True),
    }.items():
        form.budget.value = chosen
        assert (form.minutes.visible, form.steps.visible) == shown


def test_advanced_widgets_unfold(form: DenoiseForm) -> None:
    form.show()
    assert not form.advanced.visible
    form.fold.native.click()
    assert form.advanced.visible
    form.fold.native.click()
    assert not form.advanced.visible


def test_an_option_without_widget_is_named(form: DenoiseForm) -> None:
    with pytest.raises(InputError, match=r"hole=.*cannot be set in the panel"):
        form.set_options(hole=(1, 1, 5))


@pytest.mark.parametrize(
    "options",
    [{"quality": "perfect"}, {"device": "abacus"}, {"steps": 0}, {"seed": "x"}],
    ids=lambda options: next(iter(options)),
)
def test_a_choice_that_is_not_offered_is_named(
    form: DenoiseForm, options: dict[str, object]
) -> None:
    with pytest.raises(InputError, match=r"cannot be chosen in the panel"):
        form.set_options(**options)


def test_none_takes_a_setting_back_to_its_default(form: DenoiseForm) -> None:
    form.set_options(axes="ZYX")
    form.set_options(axes=None)
    assert form.settings().axes is None


def test_the_last_budget_wins(form: DenoiseForm) -> None:
    form.set_options(steps=30)
    assert form.settings().steps == 30
    form.set_options(quality="fast")
    assert (form.settings().steps, form.settings().quality) == (None, "fast")
