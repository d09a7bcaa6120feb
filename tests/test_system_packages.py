"""The script that installs what Qt and the virtual display need."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "install_system_packages.py"

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the script acts on Linux alone"
)


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install_system_packages", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that lacks xvfb and xauth; apt-get writes down how it is called."""
    provided = "libglib2.0-0t64, libglib2.0-0 (= 2.80.0)"
    plain = [
        "libgl1 libegl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libxkbcommon-x11-0",
        "libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1",
        "libxcb-render-util0 libxcb-shape0 libxcb-xkb1",
    ]
    rows = [f"installed\t{name}, " for name in " ".join(plain).split()]
    rows += [f"installed\t{provided}", "config-files\txvfb, "]
    (tmp_path / "listing").write_text("\n".join(rows) + "\n", encoding="utf-8")
    calls = {
        "dpkg-query": f'cat "{tmp_path}/listing"',
        "apt-get": f'echo "$@" >> "{tmp_path}/calls"; exit ${{FAIL:-0}}',
    }
    for name, line in calls.items():
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tmp_path


def test_renamed_packages_count_and_removed_ones_do_not(
    script: ModuleType, debian: Path
) -> None:
    assert script.missing_packages() == ["xvfb", "xauth"]


def test_root_installs_what_is_missing(
    script: ModuleType, debian: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert script.main() == 0
    assert (debian / "calls").read_text(encoding="utf-8").splitlines() == [
        "update",
        "install -y --no-install-recommends xvfb xauth",
    ]


def test_others_are_told_the_line_to_run(
    script: ModuleType,
    debian: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert script.main() == 0
    line = "sudo apt-get install -y --no-install-recommends xvfb xauth"
    assert line in capsys.readouterr().out
    assert not (debian / "calls").exists()


def test_a_failed_installation_is_said_and_ends_with_one(
    script: ModuleType,
    debian: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("FAIL", "100")
    assert script.main() == 1
    assert "Run as root: apt-get install" in capsys.readouterr().out
