from __future__ import annotations

import re
from typing import TYPE_CHECKING, get_args

import pytest
from magicgui.widgets import CheckBox

from napari_blindspot._napari.form import DenoiseForm
from napari_blindspot.config import (
    ASKED_BY_NOISE,
    DenoiseSettings,
    NoiseChoice,
    parse_settings,
)
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
    assert list(form.advanced.method.choices) == list(METHODS)


def test_widgets_become_settings(form: DenoiseForm, tmp_path: Path) -> None:
    form.training.budget.value = "minutes"
    form.training.minutes.value = 3.5
    form.output.uncertainty.value = True
    form.advanced.context.value = "none"
    form.advanced.axes.value = " ZYX "
    form.output.dtype.value = "same"
    form.advanced.seed.value = 7
    form.output.output.value = tmp_path / "result.ome.zarr"
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
    form.training.budget.value = "minutes"
    form.advanced.seed.value = 7
    form.output.dtype.value = "same"
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
        form.training.budget.value = chosen
        assert (form.training.minutes.visible, form.training.steps.visible) == shown


def test_advanced_widgets_unfold(form: DenoiseForm) -> None:
    form.show()
    assert not form.advanced.visible
    form.advanced_fold.head.native.click()
    assert form.advanced.visible
    form.advanced_fold.head.native.click()
    assert not form.advanced.visible


def test_a_newcomer_sees_the_training_time_alone(form: DenoiseForm) -> None:
    form.show()
    fields = form._fields() | {"budget": form.training.budget}
    assert [name for name, one in fields.items() if one.visible] == ["budget"]


def test_an_option_without_widget_is_named(form: DenoiseForm) -> None:
    with pytest.raises(InputError, match=r"region=.*cannot be set in the panel"):
        form.set_options(region="z=0:4")


@pytest.mark.parametrize(
    "options",
    [{"quality": "perfect"}, {"device": "abacus"}, {"steps": -1}, {"seed": "x"}],
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


def test_noise_that_was_typed_becomes_settings(
    form: DenoiseForm, tmp_path: Path
) -> None:
    noise = form.noise
    noise.gain.value, noise.offset.value, noise.read_noise.value = "2.2", " 100 ", "1.6"
    noise.low_counts.value = noise.noise_per_plane.value = True
    noise.dark.value = tmp_path / "dark.tif"
    noise.fixed_pattern.value = "columns"
    form.tunable.hole.value = (1, 1, 5)
    assert form.settings() == DenoiseSettings(
        quality="balanced",
        gain=2.2,
        offset=100,
        read_noise=1.6,
        low_counts=True,
        noise_per_plane=True,
        dark=tmp_path / "dark.tif",
        fixed_pattern="columns",
        hole=(1, 1, 5),
    )


def test_maps_that_were_chosen_become_settings(
    form: DenoiseForm, tmp_path: Path
) -> None:
    names = ("offset_map", "variance_map", "gain_map")
    maps = {name: tmp_path / f"{name}.tif" for name in names}
    for name, path in maps.items():
        getattr(form.noise, name).value = path
    assert form.settings() == DenoiseSettings(quality="balanced", **maps)
    form.noise.variance_map.line_edit.value = ""
    with pytest.raises(InputError, match="without variance_map"):
        form.settings()


@pytest.mark.parametrize(
    "options",
    [
        {"noise": "gaussian", "sigma": 20.0},
        {"noise": "impulse", "outliers": 0.05, "gain": 2.0},
        {"noise": "poisson", "gain": 0.5, "low_counts": True},
        {"noise": "camera", "gain": 2.0, "offset": 100.0, "read_noise": 1.5},
        {"fixed_pattern": "rows", "noise_per_plane": True},
    ],
    ids=lambda options: next(iter(options.values())),
)
def test_noise_options_are_shown_and_read_back(
    form: DenoiseForm, options: dict[str, object]
) -> None:
    form.set_options(**options)
    assert form.settings() == DenoiseSettings(quality="balanced", **options)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"gain": "-1"}, "gain='-1' cannot be used"),
        ({"gain": "2,2"}, "gain='2,2' cannot be used"),
        ({"offset": "100"}, "offset alone cannot be used"),
        ({"noise": "camera"}, "needs gain, offset and read_noise"),
        ({"noise": "impulse", "outliers": "2"}, "outliers='2' cannot be used"),
    ],
    ids=str,
)
def test_impossible_noise_is_refused_in_a_sentence(
    form: DenoiseForm, typed: dict[str, object], sentence: str
) -> None:
    for name, value in typed.items():
        getattr(form.noise, name).value = value
    with pytest.raises(InputError, match=re.escape(sentence)):
        form.settings()


@pytest.mark.parametrize("kind", get_args(NoiseChoice))
def test_only_what_the_kind_of_noise_asks_for_is_shown(
    form: DenoiseForm, kind: str
) -> None:
    """What is hidden is what the settings refuse, and the other way round."""
    form.show()
    form.noise_fold.unfold()
    form.noise.noise.value = kind
    camera = {"gain": 2.0, "offset": 100.0, "read_noise": 1.0}
    needed = {"camera": camera, "auto": {"gain": 2.0}, "impulse": {"gain": 2.0}}
    for name in ASKED_BY_NOISE:
        value = {"outliers": 0.1, "low_counts": True}.get(name, 1.5)
        given = {**needed.get(kind, {"gain": 2.0} if name == "offset" else {})}
        given[name] = value
        try:
            parse_settings(DenoiseSettings, noise=kind, **given)
        except InputError:
            assert not getattr(form.noise, name).visible
        else:
            assert getattr(form.noise, name).visible


def test_what_is_hidden_is_not_sent(form: DenoiseForm) -> None:
    form.noise.gain.value = "2.2"
    form.noise.noise.value = "gaussian"
    form.noise.sigma.value = "12"
    assert form.settings() == DenoiseSettings(
        quality="balanced", noise="gaussian", sigma=12
    )


def test_noise_beside_a_model_is_refused_and_not_dropped(
    form: DenoiseForm, tmp_path: Path
) -> None:
    form.advanced.model.value = tmp_path / "net.safetensors"
    form.noise.noise.value = "poisson"
    with pytest.raises(InputError, match=r"noise cannot be given together with model"):
        form.settings()


def test_labels_end_at_the_same_place(form: DenoiseForm, qtbot: QtBot) -> None:
    form.native.setStyleSheet("QLabel { font-size: 19px; }")
    with qtbot.waitExposed(form.native):
        form.show()
    folds = (form.output_fold, form.noise_fold, form.tunable_fold, form.advanced_fold)
    for fold in folds:
        fold.unfold()
    qtbot.wait(50)
    for group in (form.noise, form.tunable, form.advanced):
        rows = [one for one in group if one.visible and not isinstance(one, CheckBox)]
        assert len({one.native.x() for one in rows}) == 1
