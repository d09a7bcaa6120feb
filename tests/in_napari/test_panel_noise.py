"""What the panel says about noise: what was typed, and the check after a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from napari import Viewer
    from napari.utils.notifications import Notification
    from steered_core import SteeredCore

    from napari_blindspot._napari.panel import DenoisePanel


def _check(sentence: str, *, fits: bool = True) -> dict[str, Any]:
    return {"fits": fits, "sentence": sentence, "residual": 1.0, "fallback": ""}


@pytest.mark.parametrize(
    ("checks", "shown", "alarm"),
    [
        pytest.param([], "", False, id="none"),
        pytest.param([_check("it fits.")], "It fits.", False, id="fits"),
        pytest.param(
            [_check("it fits."), _check("noise is too low.", fits=False)],
            "Channel 0: It fits.\nChannel 1: Noise is too low.",
            True,
            id="one of two fails",
        ),
    ],
)
def test_the_noise_check_is_shown_and_kept_with_the_layer(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    finish: Callable[[DenoisePanel], None],
    checks: list[dict[str, Any]],
    shown: str,
    alarm: bool,
) -> None:
    core.metrics = {"noise_check": checks}
    viewer, panel = cells
    finish(panel)
    assert panel.noise_verdict.value == shown
    assert ("bold" in panel.noise_verdict.native.styleSheet()) == alarm
    metadata = viewer.layers["cells denoised"].metadata["napari_blindspot"]
    assert metadata["metrics"]["noise_check"] == checks


def test_noise_that_was_typed_reaches_the_core(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    finish: Callable[[DenoisePanel], None],
) -> None:
    _, panel = cells
    noise = panel.form.noise
    noise.gain.value, noise.offset.value = "2.2", "100"
    panel.form.tunable.hole.value = (1, 3, 3)
    finish(panel)
    settings = core.calls[0][1]
    assert (settings.gain, settings.offset, settings.hole) == (2.2, 100.0, (1, 3, 3))


def test_impossible_noise_is_told_and_nothing_starts(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    notes: list[Notification],
) -> None:
    _, panel = cells
    panel.form.noise.gain.value = "-2"
    panel.run()
    assert "gain='-2' cannot be used" in notes[-1].message
    assert not panel.running
    assert not core.calls
