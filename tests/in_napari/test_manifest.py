from __future__ import annotations

import subprocess
import sys
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from napari._app_model import get_app_model
from napari._app_model.constants import MenuId
from npe2 import PluginManager, PluginManifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer
    from qtpy.QtWidgets import QMenu


NAME = "napari-blindspot"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def manifest() -> PluginManifest:
    path = resources.files("napari_blindspot") / "napari.yaml"
    return PluginManifest.from_file(str(path))


def _lost_menus(manifest: PluginManifest) -> set[str]:
    """Menu ids whose items napari would drop without a word."""
    own = {submenu.id for submenu in manifest.contributions.submenus}
    known = {str(menu) for menu in MenuId.contributables()}
    return set(manifest.contributions.menus) - known - own


def _texts(menu: QMenu) -> list[str]:
    """Titles of all items of a menu, submenus as ``Parent > Child``."""
    menu.aboutToShow.emit()
    found = []
    for action in menu.actions():
        found.append(action.text())
        if action.menu() is not None:
            found += [f"{action.text()} > {text}" for text in _texts(action.menu())]
    return found


def test_manifest_at_the_root_is_the_one_in_the_package(
    manifest: PluginManifest,
) -> None:
    assert PluginManifest.from_file(str(ROOT / "napari.yaml")) == manifest


def test_installed_plugin_is_this_manifest(manifest: PluginManifest) -> None:
    plugins = PluginManager.instance()
    plugins.discover()
    assert plugins.get_manifest(NAME).contributions == manifest.contributions


def test_every_python_name_imports(manifest: PluginManifest) -> None:
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        assert callable(getattr(import_module(module), name)), command.id


def test_every_command_is_used_by_its_full_name_and_has_a_title(
    manifest: PluginManifest,
) -> None:
    for command in manifest.contributions.commands:
        assert command.id.startswith(f"{NAME}.")
        assert command.title[0].isupper()
        assert NAME not in command.title


def test_every_menu_exists_in_napari(manifest: PluginManifest) -> None:
    assert manifest.contributions.menus
    assert not _lost_menus(manifest)


def test_a_wrong_menu_id_would_be_noticed(manifest: PluginManifest) -> None:
    menus = manifest.contributions.menus
    menus["napari/layers/filters"] = menus.pop("napari/layers/filter")
    assert _lost_menus(manifest) == {"napari/layers/filters"}


def test_items_appear_in_the_real_menus(
    make_napari_viewer: Callable[..., Viewer],
) -> None:
    window = make_napari_viewer().window
    layers = _texts(window.layers_menu)
    inside = "Filter > Blindspot denoising > "
    assert f"{inside}Denoise (Blindspot)" in layers
    for quality in ("fast", "balanced", "best"):
        assert f"{inside}Denoise selected layer ({quality}) (Blindspot)" in layers
    assert "Measure > Compare (Blindspot)" in layers
    diagnose = "Diagnose the noise of the selected layer"
    assert f"Measure > {diagnose} (Blindspot)" in layers
    plugins = _texts(window.plugins_menu)
    for panel in ("Denoise", "Compare"):
        assert f"Blindspot > {panel} (Blindspot)" in plugins
    samples = "Open Sample > Blindspot > "
    assert f"{samples}Nuclei (generated, with truth)" in _texts(window.file_menu)
    assert f"{samples}Nuclei of cells3d (downloaded once)" in _texts(window.file_menu)


def test_every_command_is_in_the_palette(
    make_napari_viewer: Callable[..., Viewer], manifest: PluginManifest
) -> None:
    make_napari_viewer()
    contributed = manifest.contributions
    samples = {sample.command for sample in contributed.sample_data}
    expected = {command.id for command in contributed.commands} - samples
    expected |= {f"{NAME}.{sample.key}" for sample in contributed.sample_data}
    assert all(name in get_app_model().commands for name in expected)


def test_reader_leaves_common_files_to_napari(manifest: PluginManifest) -> None:
    claimed = {
        pattern
        for reader in manifest.contributions.readers
        for pattern in reader.filename_patterns
    }
    ours = {"*.ome.zarr", "*.ome.tif", "*.ome.tiff"}
    assert claimed == ours | {"*.czi", "*.lif", "*.nd2", "*.ims"}


def test_what_runs_without_a_window_needs_no_qt_and_no_torch() -> None:
    modules = (
        "readers",
        "samples",
        "layers",
        "denoising",
        "commands",
        "time_left",
        "figures",
        "diagnosing",
        "noise_figures",
    )
    imports = "".join(f"import napari_blindspot._napari.{name};" for name in modules)
    code = (
        f"import sys; {imports}"
        "heavy = {'qtpy', 'PyQt6', 'PySide6', 'torch'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
