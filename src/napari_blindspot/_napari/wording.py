"""What sentences of the core advise, in the words of the panel."""

from __future__ import annotations

import re

_IN_PANEL = (
    (
        r"--overwrite instead of --resume \(overwrite=True instead of resume=True\)",
        '"Replace an existing output file" in the place of "Go on with an earlier run" '
        "under Output",
    ),
    (
        r"\(overwrite=True instead of resume=True\)",
        '("Replace an existing output file" in the place of the other, under Output)',
    ),
    (
        r"(?:--overwrite )?\(overwrite=True\)",
        '"Replace an existing output file" under Output',
    ),
    (r"(?:--resume )?\(resume=True\)", '"Go on with an earlier run" under Output'),
    (
        r"pass axes='(\w+)' \(or what it is\)",
        r"type \1 (or what it is) as Axes under Advanced",
    ),
    (
        r"(?:pass|name the axes with|name its axes with) axes=",
        "type its Axes under Advanced",
    ),
    (r"\(--device cpu\)", "(Device cpu under Advanced)"),
    (r"use a smaller --region", "use a smaller region"),
    (
        r"use noise_per_plane \(--noise-per-plane\)",
        'tick "Noise differs per plane" under Noise',
    ),
    (
        r"set layer\.units or pass voxel_size=",
        "set layer.units of it, e.g. in the console",
    ),
)


def in_panel(sentence: str) -> str:
    """Return a sentence with the labels of widgets for options of shell and Python."""
    for asked, shown in _IN_PANEL:
        sentence = re.sub(asked, shown, sentence)
    return sentence
