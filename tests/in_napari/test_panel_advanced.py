"""Widgets that are seldom needed: shown where they mean something, and obeyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from napari.layers import Image
from napari.utils.notifications import notification_manager

from napari_blindspot._napari.form import DenoiseForm
from napari_blindspot._napari.layers import channel_count
from napari_blindspot.config import DenoiseSettings
from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from napari import Viewer
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot
    from steered_core import SteeredCore

    from napari_blindspot._napari.panel import DenoisePanel

pytestmark = pytest.mark.usefixtures("tiny_networks")


@pytest.fixture
def form(qtbot: QtBot) -> DenoiseForm:
    """The widgets alone, without a viewer, everything unfolded."""
    widgets = DenoiseForm()
    qtbot.addWidget(widgets.native)
    widgets.show()
    widgets.noise_fold.unfold()
    widgets.advanced_fold.unfold()
    return widgets


@pytest.fixture
def dyes() -> NDArray[np.uint16]:
    """Two noisy channels of a small stack, (2, 6, 48, 48) uint16."""
    light = np.random.default_rng(0).gamma(4.0, 10.0, (6, 12, 12))
    light = light.repeat(4, axis=1).repeat(4, axis=2)
    both = np.stack([light, 0.5 * light]) + 100
    return np.random.default_rng(1).poisson(both).astype(np.uint16)


@pytest.mark.parametrize(
    ("several", "channels", "shown"),
    [
        pytest.param(False, "each", (False, False), id="one channel"),
        pytest.param(True, "each", (True, False), id="several, each"),
        pytest.param(True, "joint", (True, True), id="several, joint"),
        pytest.param(False, "joint", (True, True), id="the choice stays in sight"),
    ],
)
def test_channels_are_asked_about_where_there_are_several(
    form: DenoiseForm, several: bool, channels: str, shown: tuple[bool, bool]
) -> None:
    form.advanced.channels.value = channels
    form.advanced.offer_channels(several)
    advanced = form.advanced
    assert (advanced.channels.visible, advanced.covariance.visible) == shown


@pytest.mark.parametrize(
    ("kind", "shown"),
    [("auto", False), ("camera", False), ("gaussian", True), ("impulse", True)],
)
def test_learning_is_offered_for_noise_of_one_number(
    form: DenoiseForm, kind: str, shown: bool
) -> None:
    form.noise.noise.value = kind
    assert form.noise.unknown.visible == shown


@pytest.mark.parametrize(
    "options",
    [
        {"channels": "joint", "covariance": "diagonal"},
        {"noise": "poisson", "unknown": "learn"},
        {"stop_gradient": True, "context": "none"},
        {"threads": 2, "hole": (1, 3, 5)},
        {"start": "cold", "stop_gradient": True},
        {"context": "t", "start": "of/monday.safetensors"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_are_shown_and_read_back(
    form: DenoiseForm, options: dict[str, object]
) -> None:
    form.set_options(**options)
    assert form.settings() == DenoiseSettings(quality="balanced", **options)


def test_no_step_at_all_can_be_chosen(form: DenoiseForm) -> None:
    form.set_options(steps=0)
    assert form.settings() == DenoiseSettings(steps=0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"covariance": "diagonal"}, "give channels='joint' as well"),
        ({"unknown": "learn"}, "cannot be used with noise='auto'"),
        ({"sigma": 3.0}, "has no meaning with noise='auto'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_option_that_would_be_hidden_is_refused(
    form: DenoiseForm, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        form.set_options(**options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"threads": "two"}, "threads='two' cannot be used"),
        ({"threads": 0}, "threads='0' cannot be used"),
        ({"start": "monday.tif"}, "start='monday.tif' cannot be used"),
        ({"start": "cold", "model": "m.safetensors"}, "start cannot be given together"),
        ({"channels": "joint", "noise": "impulse"}, "cannot be used with channels="),
        (
            {"noise": "gaussian", "unknown": "learn", "noise_per_plane": True},
            "noise_per_plane cannot be used with unknown='learn'",
        ),
        (
            {"stop_gradient": True, "low_counts": True},
            "stop_gradient has no meaning with low_counts",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_had_together_is_refused_and_stays_as_it_was_typed(
    form: DenoiseForm, options: dict[str, object], sentence: str
) -> None:
    form.set_options(**options)
    for _ in range(2):
        with pytest.raises(InputError, match=sentence):
            form.settings()


def test_an_objective_beside_a_model_is_refused_and_not_dropped(
    form: DenoiseForm, tmp_path: Path
) -> None:
    form.advanced.model.value = tmp_path / "net.safetensors"
    form.advanced.threads.value = "1"
    assert form.settings().threads == 1
    form.advanced.channels.value = "joint"
    with pytest.raises(InputError, match="channels cannot be given together"):
        form.settings()


def test_channels_that_are_each_again_forget_their_covariance(
    form: DenoiseForm,
) -> None:
    form.set_options(channels="joint", covariance="diagonal")
    form.advanced.channels.value = "each"
    assert form.settings() == DenoiseSettings(quality="balanced")


@pytest.mark.parametrize(
    ("shape", "labels", "axes", "count"),
    [
        ((8, 32, 32), None, None, 1),
        ((2, 8, 32, 32), None, None, 2),
        ((9, 3, 32, 32), ("z", "c", "y", "x"), None, 3),
        ((3, 32, 32), None, "CYX", 3),
        ((3, 32, 32), None, "CQX", 1),
    ],
)
def test_channels_of_a_layer_are_counted_by_its_axes(
    shape: tuple[int, ...],
    labels: tuple[str, ...] | None,
    axes: str | None,
    count: int,
) -> None:
    layer = Image(np.zeros(shape, np.uint8), axis_labels=labels)
    assert channel_count(layer, axes) == count


def test_the_panel_offers_channels_by_layer_and_axes(
    open_panel: Callable[..., Any],
    pixels: NDArray[np.uint16],
    dyes: NDArray[np.uint16],
) -> None:
    viewer, panel = open_panel(
        (dyes, {"name": "dyes"}),
        (pixels, {"name": "cells"}),
        (np.zeros((16, 16, 3), np.uint8), {"name": "colours", "rgb": True}),
    )
    panel.form.advanced_fold.unfold()

    def offered() -> bool:
        return not panel.form.advanced.channels.native.isHidden()

    for name, expected in {"dyes": True, "cells": False, "colours": False}.items():
        panel.layer.value = viewer.layers[name]
        assert offered() == expected
    panel.layer.value = viewer.layers["cells"]
    panel.form.advanced.axes.value = "CYX"
    assert offered()
    panel.form.advanced.axes.value = ""
    assert not offered()


def test_a_refused_choice_is_told_in_the_panel_and_starts_nothing(
    cells: tuple[Viewer, DenoisePanel], core: SteeredCore
) -> None:
    _, panel = cells
    panel.set_options(noise="gaussian", unknown="learn", noise_per_plane=True)
    panel.run()
    assert "learns one number" in notification_manager.records[-1].message
    assert not core.calls
    assert panel.form.noise.unknown.value == "learn"


def test_joint_channels_are_denoised_and_lie_on_their_source(
    open_panel: Callable[..., Any],
    dyes: NDArray[np.uint16],
    finish: Callable[[DenoisePanel], None],
) -> None:
    noisy, labels = np.moveaxis(dyes, 0, -1), ("z", "y", "x", "c")
    scale = (0.5, 0.2, 0.3, 1.0)
    viewer, panel = open_panel(
        (noisy, {"name": "dyes", "axis_labels": labels, "scale": scale})
    )
    panel.set_options(steps=2, channels="joint", threads=1, uncertainty=True)
    finish(panel)
    denoised = viewer.layers["dyes denoised"]
    assert denoised.data.shape == noisy.shape
    np.testing.assert_array_equal(denoised.scale, scale)
    assert denoised.axis_labels == labels
    assert viewer.layers["dyes uncertainty"].data.shape == noisy.shape
    for channel, dye in enumerate(dyes):
        found = denoised.data[..., channel].mean()
        assert found == pytest.approx(dye.mean(), rel=0.02)
    assert "2 channels are denoised together" in panel.verdict.value


def test_joint_channels_of_a_layer_with_one_channel_are_refused_in_a_sentence(
    cells: tuple[Viewer, DenoisePanel], finish: Callable[[DenoisePanel], None]
) -> None:
    viewer, panel = cells
    panel.set_options(steps=2, channels="joint")
    finish(panel)
    assert "needs a stack of several channels" in (
        notification_manager.records[-1].message
    )
    assert [layer.name for layer in viewer.layers] == ["cells"]


def test_layers_merged_to_a_stack_are_its_channels() -> None:
    from napari.layers.utils.stack_utils import images_to_stack

    one = np.zeros((6, 16, 16), np.uint8)
    merged = images_to_stack([Image(one, axis_labels=("z", "y", "x"))] * 5)
    assert channel_count(merged) == 5
