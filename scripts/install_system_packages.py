"""Install the system libraries that Qt, OpenGL and the virtual display need.

On Debian and Ubuntu, as root, whatever is missing is installed. Elsewhere the one
line to run is printed and the tests go on: they say themselves what they lack.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PACKAGES = (
    "libgl1",
    "libegl1",
    "libglib2.0-0",
    "libxkbcommon0",
    "libdbus-1-3",
    "libfontconfig1",
    "libxkbcommon-x11-0",
    "libxcb-cursor0",
    "libxcb-icccm4",
    "libxcb-image0",
    "libxcb-keysyms1",
    "libxcb-render-util0",
    "libxcb-shape0",
    "libxcb-xkb1",
    "xvfb",
    "xauth",
)


def installed_names() -> set[str]:
    """Return the names of installed packages and of what they provide."""
    fields = "${db:Status-Status}\t${Package}, ${Provides}\n"
    listing = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={fields}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = (line.split("\t") for line in listing.splitlines() if "\t" in line)
    return {
        # "libglib2.0-0 (= 2.80.0)" is how a renamed package provides its old name.
        name.split("(")[0].strip()
        for status, names in rows
        if status == "installed"
        for name in names.split(",")
    }


def missing_packages() -> list[str]:
    """Return which of `PACKAGES` are not installed, in their order."""
    installed = installed_names()
    return [name for name in PACKAGES if name not in installed]


def install(packages: list[str]) -> None:
    """Install packages with apt-get, without questions."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *words], env=environment, check=True)


def main() -> int:
    """Install what is missing, or say what to run."""
    if not sys.platform.startswith("linux"):
        return 0
    if shutil.which("dpkg-query") is None or shutil.which("apt-get") is None:
        print(f"The tests need what Debian calls: {' '.join(PACKAGES)}")
        return 0
    missing = missing_packages()
    if not missing:
        return 0
    command = f"apt-get install -y --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0:
        print(f"System packages are missing. Run: sudo {command}")
        return 0
    try:
        install(missing)
    except subprocess.CalledProcessError as error:
        print(f"{error}\nSystem packages are missing. Run as root: {command}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
