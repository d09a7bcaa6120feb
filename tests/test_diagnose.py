"""Diagnosis of a stack: in Python, in the shell, and as a page."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from scipy import ndimage

import napari_blindspot as nb
from napari_blindspot.cli import main
from napari_blindspot.errors import Cancelled, InputError, OutputExistsError, RunError
from napari_blindspot.reporting.report import report_html
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def white() -> NDArray[np.uint16]:
    return nuclei_phantom((12, 128, 128), seed=1).noisy


@pytest.fixture(scope="module")
def diagnosis(white: NDArray[np.uint16]) -> nb.Diagnosis:
    return nb.diagnose(white)


@pytest.fixture
def white_tiff(tmp_path: Path, white: NDArray[np.uint16]) -> Path:
    path = tmp_path / "white.tif"
    tifffile.imwrite(path, white, metadata={"axes": "ZYX"}, imagej=True)
    return path


def blurred(stack: NDArray[np.uint16]) -> NDArray[np.uint16]:
    kernel = np.array([0.25, 0.5, 0.25])
    rows = ndimage.convolve1d(stack.astype(float), kernel, axis=1)
    return np.round(ndimage.convolve1d(rows, kernel, axis=2)).astype(np.uint16)


# --- Python --------------------------------------------------------------------


def test_white_camera_noise(diagnosis: nb.Diagnosis) -> None:
    (channel,) = diagnosis.channels
    assert diagnosis.verdict == (
        "The noise is white: a hole of one voxel (1 1 1) suits it."
    )
    assert diagnosis.hole == (1, 1, 1)
    assert channel.recording.problems == ()
    facts = channel.noise.as_dict()
    low, high = facts["gain_interval"]
    assert low < 2.2 < high
    assert channel.points.mean.size > 5


def test_facts_are_json_with_the_documented_keys(diagnosis: nb.Diagnosis) -> None:
    facts = json.loads(json.dumps(diagnosis.as_dict()))
    assert {"noise", "correlation", "hole", "verdict", "fixed_pattern"} <= set(facts)
    assert {"gain", "offset", "read_noise", "gain_interval"} <= set(facts["noise"])
    assert len(facts["noise"]["points"]["mean"]) == len(
        facts["noise"]["points"]["variance"]
    )
    assert {"z", "y", "x", "verdict"} <= set(facts["correlation"])
    assert facts["hole"] == [1, 1, 1]
    assert "channels" not in facts


def test_filtered_stack_asks_for_a_larger_hole(white: NDArray[np.uint16]) -> None:
    found = nb.diagnose(blurred(white))
    assert found.hole == (1, 5, 5)
    assert "use a hole of 1 5 5 (z y x)" in found.verdict


def test_several_channels_get_the_hole_that_suits_all(
    white: NDArray[np.uint16],
) -> None:
    pair = np.stack([white, blurred(white)])
    stack = nb.open_stack(pair, axes="CZYX")
    found = nb.diagnose(stack)
    facts = found.as_dict()
    assert [one["hole"] for one in facts["channels"]] == [[1, 1, 1], [1, 5, 5]]
    assert facts["hole"] == [1, 5, 5]
    assert "noise" not in facts
    assert found.verdict.startswith("Channel 0: The noise is white")
    assert found.sentences()[-1] == "Hole for all channels: 1 5 5."
    assert nb.diagnose(pair, axes="CZYX", channel=1).hole == (1, 5, 5)


def test_movie_is_diagnosed_along_time(white: NDArray[np.uint16]) -> None:
    paired = (white[:-1].astype(float) + white[1:]) / 2
    found = nb.diagnose(np.round(paired).astype(np.uint16), axes="TYX")
    assert found.context == "t"
    assert found.hole == (3, 1, 1)
    assert "correlated along t: use a hole of 3 1 1 (t y x)" in found.verdict


def test_single_plane_can_be_diagnosed(white: NDArray[np.uint16]) -> None:
    found = nb.diagnose(white[4])
    assert (found.context, found.hole) == ("none", (1, 1, 1))


def test_clipping_is_part_of_the_verdict(white: NDArray[np.uint16]) -> None:
    found = nb.diagnose(np.maximum(white, 101) - 101)
    assert "the recording was clipped or compressed" in found.verdict
    assert any("cut off" in words for words in found.channels[0].warnings)


def test_fixed_columns_and_hot_pixels_are_mentioned() -> None:
    stack = nuclei_phantom((24, 128, 128), seed=5).noisy.astype(float)
    stack += np.random.default_rng(0).normal(0, 2, 128)
    stack[:, 40, 50] += 150
    found = nb.diagnose(np.round(stack).astype(np.uint16))
    said = " ".join(found.sentences())
    assert "The columns have a fixed pattern" in said
    assert "1 hot pixel(s)" in said
    assert "The rows have" not in said


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda w: w[:1, :90, :90], "8100 voxels .* 10000", id="small"),
        pytest.param(lambda w: np.tile(w, (9, 1, 1))[:, :30], "30 × 128", id="narrow"),
        pytest.param(lambda w: np.full_like(w, 7), "constant", id="constant"),
        pytest.param(
            lambda w: np.where(w > 90, 65535, w).astype(np.uint16),
            "saturated",
            id="saturated",
        ),
        pytest.param(
            lambda w: np.full(w.shape, np.nan, np.float32), "finite", id="nan"
        ),
    ],
)
def test_what_cannot_be_diagnosed_is_refused_with_a_reason(
    white: NDArray[np.uint16], make: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        nb.diagnose(make(white))


def test_unknown_setting_is_refused(white: NDArray[np.uint16]) -> None:
    with pytest.raises(InputError, match="hole=3 is not a setting"):
        nb.diagnose(white, hole=3)


def test_it_can_be_followed_and_cancelled(white: NDArray[np.uint16]) -> None:
    token, events = nb.CancelToken(), []

    def follow(event: nb.Progress) -> None:
        events.append(event)
        if event.stage == "noise":
            token.cancel()

    with pytest.raises(Cancelled):
        nb.diagnose(white, on_progress=follow, cancel=token)
    assert events[-1].stage == "noise"


# --- page ----------------------------------------------------------------------


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_well_formed_and_needs_nothing_else(diagnosis: nb.Diagnosis) -> None:
    text = report_html(diagnosis)
    page = _Page(text)
    assert page.open == []
    assert page.tags.isdisjoint({"script", "link", "img", "iframe"})
    outside = text.replace("http://www.w3.org/2000/svg", "")
    assert "://" not in outside
    assert "url(" not in outside
    assert "nan" not in text.lower()
    assert diagnosis.verdict in text


def test_page_draws_line_correlations_and_patterns(diagnosis: nb.Diagnosis) -> None:
    drawings = re.findall(r"<svg.*?</svg>", report_html(diagnosis), re.DOTALL)
    titles = [ET.fromstring(one).findtext("{*}title") for one in drawings]
    assert titles == [
        "Noise variance against signal",
        "Correlation of the noise along x",
        "Correlation of the noise along y",
        "Correlation of the noise along z",
        "Fixed pattern of the columns",
        "Fixed pattern of the rows",
    ]
    svg = "{http://www.w3.org/2000/svg}"
    points = diagnosis.channels[0].points.mean.size
    assert len(ET.fromstring(drawings[0]).findall(f"{svg}circle")) == points
    # One bar per lag besides the white ground.
    assert len(ET.fromstring(drawings[1]).findall(f"{svg}rect")) == 1 + 6


def test_page_escapes_names_from_the_file(white: NDArray[np.uint16]) -> None:
    from dataclasses import replace

    stack = nb.open_stack(np.stack([white, white]), axes="CZYX")
    evil = "<script>alert('x')</script>&"
    named = replace(stack, name=evil, channel_names=(evil, "b"))
    text = report_html(nb.diagnose(named))
    assert "<script" not in text
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&amp;" in text


def test_report_is_written_once(diagnosis: nb.Diagnosis, tmp_path: Path) -> None:
    path = nb.write_report(diagnosis, tmp_path / "noise.html")
    with pytest.raises(OutputExistsError, match=r"noise\.html.* exists"):
        nb.write_report(diagnosis, path)
    path.write_text("old")
    nb.write_report(diagnosis, path, overwrite=True)
    assert "<svg" in path.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["noise.html"]


def test_a_report_is_of_a_diagnosis(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="diagnosis=5 is of type int"):
        nb.write_report(5, tmp_path / "report.html")


def test_a_report_that_appeared_meanwhile_is_kept(
    diagnosis: nb.Diagnosis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "noise.html"

    def page(shown: nb.Diagnosis) -> str:
        path.write_text("precious")
        return report_html(shown)

    monkeypatch.setattr("napari_blindspot.reporting.report.report_html", page)
    with pytest.raises(OutputExistsError, match=r"^report .* exists already"):
        nb.write_report(diagnosis, path)
    assert path.read_text() == "precious"
    assert [file.name for file in tmp_path.iterdir()] == ["noise.html"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("noise.pdf", r"end in \.html", id="suffix"),
        pytest.param("nowhere/noise.html", "does not exist", id="folder"),
    ],
)
def test_report_paths_that_cannot_be(
    diagnosis: nb.Diagnosis, tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        nb.write_report(diagnosis, tmp_path / name)


def test_a_folder_is_no_report_even_with_overwrite(
    diagnosis: nb.Diagnosis, tmp_path: Path
) -> None:
    (tmp_path / "noise.html").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        nb.write_report(diagnosis, tmp_path / "noise.html", overwrite=True)


def test_failed_write_leaves_the_old_report(
    diagnosis: nb.Diagnosis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "noise.html"
    path.write_text("old")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RunError, match="disk is full"):
        nb.write_report(diagnosis, path, overwrite=True)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# --- shell ---------------------------------------------------------------------


def test_last_line_of_json_is_the_diagnosis(
    white_tiff: Path, tmp_path: Path, capsys: Capture
) -> None:
    report = tmp_path / "noise.html"
    assert main(["diagnose", str(white_tiff), "--json", "--report", str(report)]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["hole"] == [1, 1, 1]
    assert facts["noise"]["gain"] == pytest.approx(2.2, rel=0.15)
    assert facts["correlation"]["verdict"] == "white"
    assert facts["report"] == str(report)
    assert report.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_people_read_sentences(white_tiff: Path, capsys: Capture) -> None:
    assert main(["diagnose", str(white_tiff), "--region", "y=0:96"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("The noise is white")
    assert "gain 2." in lines[1]


def test_existing_report_is_refused_before_any_work(
    white_tiff: Path, tmp_path: Path, capsys: Capture
) -> None:
    report = tmp_path / "noise.html"
    report.write_text("mine")
    assert main(["diagnose", str(white_tiff), "--report", str(report)]) == 2
    printed = capsys.readouterr()
    assert "exists already" in printed.err
    assert "Estimating" not in printed.err
    assert report.read_text() == "mine"
    words = ["diagnose", str(white_tiff), "--report", str(report), "--overwrite"]
    assert main(words) == 0
    assert report.read_text(encoding="utf-8") != "mine"


def test_missing_input_is_one_sentence(tmp_path: Path, capsys: Capture) -> None:
    assert main(["diagnose", str(tmp_path / "none.tif")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err


def test_noise_that_neighbours_share_is_reported_whole() -> None:
    rng = np.random.default_rng(5)
    smooth = ndimage.gaussian_filter(rng.normal(size=(8, 128, 128)), (1, 8, 8))
    electrons = 5 + 60 * (smooth - smooth.min()) / np.ptp(smooth)
    noise = rng.poisson(electrons) - electrons
    noise = ndimage.uniform_filter1d(noise, 5, axis=2) * 5**0.5
    stack = np.round(2.2 * (electrons + noise) + 100).astype(np.uint16)
    known = {"gain": 2.2, "offset": 100.0, "read_noise": 0.0}
    found = nb.diagnose(stack, axes="ZYX", **known).channels[0]
    assert found.hole == (1, 1, 9)
    assert found.noise.gain == pytest.approx(2.2, rel=0.15)
    assert found.given is not None
    assert found.given.explains
