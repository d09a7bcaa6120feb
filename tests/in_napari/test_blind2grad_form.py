"""Settings of Blind2Grad in the panel: there with that method alone, and obeyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from magicgui.widgets import LineEdit

from napari_blindspot._napari.blind2grad_form import USUAL
from napari_blindspot._napari.form import DenoiseForm
from napari_blindspot._napari.preview_answers import Part
from napari_blindspot.config import DenoiseSettings, parse_settings
from napari_blindspot.config.blind2grad import Blind2GradSettings
from napari_blindspot.errors import InputError
from napari_blindspot.methods import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari import Viewer
    from pytestqt.qtbot import QtBot
    from steered_core import SteeredCore

    from napari_blindspot._napari.panel import DenoisePanel
    from napari_blindspot._napari.preview_answers import Failure
    from napari_blindspot._napari.preview_start import Search
    from napari_blindspot.api import Result

B2G = "blind2grad"
TYPED = ("omega", "gamma", "eps_g", "eps_s")


@pytest.fixture
def form(qtbot: QtBot) -> DenoiseForm:
    """The widgets alone, without a viewer, Blind2Grad chosen and unfolded."""
    widgets = DenoiseForm()
    qtbot.addWidget(widgets.native)
    widgets.show()
    widgets.advanced.method.value = B2G
    widgets.blind2grad_fold.unfold()
    return widgets


def test_the_fold_is_there_with_its_method_alone(form: DenoiseForm) -> None:
    fold, body = form.blind2grad_fold, form.blind2grad
    for method in METHODS:
        form.advanced.method.value = method
        assert fold.visible == body.visible == (method == B2G)
    fold.unfold(False)
    for method in ("bayesian", B2G):
        form.advanced.method.value = method
    assert fold.visible
    assert not body.visible


def test_what_it_does_not_have_is_not_offered_but_a_choice_is_not_lost(
    form: DenoiseForm,
) -> None:
    advanced = form.advanced
    form.advanced_fold.unfold()
    assert not advanced.start.visible
    assert not advanced.stop_gradient.visible
    advanced.method.value = "bayesian"
    assert advanced.start.visible
    advanced.stop_gradient.value = True
    advanced.method.value = B2G
    assert advanced.stop_gradient.visible
    with pytest.raises(InputError, match="stop_gradient"):
        form.settings()


def test_defaults_limits_and_help_are_those_of_the_settings(form: DenoiseForm) -> None:
    assert form.settings() == DenoiseSettings(quality="balanced", method=B2G)
    for widget in form.blind2grad:
        field = Blind2GradSettings.model_fields[widget.name]
        assert widget.tooltip == field.description
        if not isinstance(widget, LineEdit):
            assert widget.value == USUAL.get(widget.name, field.default)
    assert form.blind2grad.gamma.native.placeholderText() == "0.5"
    assert form.blind2grad.omega.native.placeholderText() == "0.8, real 0.5"


@pytest.mark.parametrize("name", ["detail_share", "passes"])
def test_no_more_can_be_chosen_than_the_settings_take(
    form: DenoiseForm, name: str
) -> None:
    widget = getattr(form.blind2grad, name)
    for end, beyond in ((widget.min, -1), (widget.max, 1)):
        widget.value = end
        assert getattr(form.settings(), name) == end
        with pytest.raises(InputError, match=f"{name}=.* cannot be used"):
            parse_settings(DenoiseSettings, method=B2G, **{name: end + beyond})


@pytest.mark.parametrize(
    "options",
    [
        {"mask": "bernoulli", "standout": "off", "loss_form": "signed"},
        {"detail_share": -0.25, "eps_g": 15.0, "eps_s": 100.0},
        {"omega": 0.0, "gamma": 0.25, "variant": "real"},
        {"passes": 8, "average": "hidden", "combine": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_are_shown_and_read_back(
    form: DenoiseForm, options: dict[str, object]
) -> None:
    form.set_options(**options)
    chosen = DenoiseSettings(quality="balanced", method=B2G, **options)
    assert form.settings() == chosen
    form.set_options(**dict.fromkeys(TYPED))
    kept = {name: v for name, v in options.items() if name not in TYPED}
    assert form.settings() == DenoiseSettings(quality="balanced", method=B2G, **kept)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"omega": "-1"}, "omega='-1' cannot be used"),
        ({"eps_g": "forty"}, "eps_g='forty' cannot be used"),
        ({"passes": 3, "combine": True}, "give at least 4"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_refused_and_stays_as_it_was_typed(
    form: DenoiseForm, options: dict[str, object], sentence: str
) -> None:
    form.set_options(**options)
    for _ in range(2):
        with pytest.raises(InputError, match=sentence):
            form.settings()


def test_with_another_method_they_are_kept_and_not_sent(form: DenoiseForm) -> None:
    form.set_options(mask="bernoulli", omega=0.3)
    form.advanced.method.value = "bayesian"
    assert form.settings() == DenoiseSettings(quality="balanced")
    form.advanced.method.value = B2G
    assert (form.settings().mask, form.settings().omega) == ("bernoulli", 0.3)


def test_they_cannot_be_chosen_beside_another_method_or_a_model(
    form: DenoiseForm, tmp_path: Path
) -> None:
    form.advanced.method.value = "bayesian"
    with pytest.raises(InputError, match="omega can be given with method='blind2grad'"):
        form.set_options(omega=0.3)
    form.set_options(method=B2G, model=tmp_path / "net.safetensors")
    with pytest.raises(InputError, match="omega cannot be given together with model"):
        form.settings()


def test_the_run_is_given_them(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    finish: Callable[[DenoisePanel], None],
) -> None:
    _, panel = cells
    chosen = {"method": B2G, "steps": 3, "eps_s": 40.0, "average": "none"}
    panel.set_options(**chosen)
    finish(panel)
    panel.form.advanced.method.value = "bayesian"
    finish(panel)
    (_, first, _), (_, second, _) = core.calls
    assert first == DenoiseSettings(**chosen)
    assert second == DenoiseSettings(steps=3)


def test_the_network_that_trains_with_them_is_shown(
    cells: tuple[Viewer, DenoisePanel], finish: Callable[[DenoisePanel], None]
) -> None:
    _, panel = cells
    told: list[Part | Failure | Search] = []
    results: list[Result] = []
    panel.finished.connect(results.append)
    panel.preview.told.connect(told.append)
    panel.preview_box.value = True
    panel.set_options(method=B2G, steps=2, passes=2, omega=0.3, threads=1)
    finish(panel)
    assert "training" in [one.by for one in told if isinstance(one, Part)]
    (result,) = results
    assert result.model.settings.passes == 2
    assert result.model.provenance["blind2grad"]["omega"] == 0.3


def test_channels_can_go_together_without_a_covariance(form: DenoiseForm) -> None:
    form.advanced.offer_channels(True)
    form.set_options(channels="joint")
    assert form.settings().channels == "joint"
    assert not form.advanced.is_asked(form.advanced.covariance)
    form.set_options(method="bayesian")
    assert form.advanced.is_asked(form.advanced.covariance)
