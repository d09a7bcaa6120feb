"""What the documentation tells people to type does what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tifffile

from napari_blindspot.cli import app

if TYPE_CHECKING:
    from napari_blindspot.sample import Phantom

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BUDGET = re.compile(r'quality="\w+"|minutes=\d+')


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced code blocks of one language."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return fence.findall(page.read_text(encoding="utf-8"))


def shell_lines() -> list[str]:
    return [
        line
        for page in PAGES
        for block in blocks(page, "bash")
        for line in block.splitlines()
        if line.startswith("napari-blindspot ")
    ]


@pytest.mark.parametrize("line", shell_lines())
def test_shell_lines_are_understood(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command, _, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert command.__name__ == words[0]


def test_quick_start_in_python_runs_from_top_to_bottom(
    phantom: Phantom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("stack.tif", "a.tif", "b.tif", "c.tif"):
        tifffile.imwrite(name, phantom.noisy, metadata={"axes": "ZYX"}, imagej=True)
    code = "\n".join(blocks(REPOSITORY / "docs" / "quickstart.md", "python"))
    budgets = len(BUDGET.findall(code))
    assert budgets == 3
    exec(BUDGET.sub('steps=1, device="cpu"', code), {})
    assert (tmp_path / "denoised.ome.zarr").is_dir()
    assert (tmp_path / "nuclei.safetensors").is_file()
    assert (tmp_path / "c_denoised.ome.zarr").is_dir()


def test_readme_shows_the_commands_of_the_checks() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    (command,) = re.findall(r"^test_command='(.*)'$", ci, re.MULTILINE)
    assert command in readme
