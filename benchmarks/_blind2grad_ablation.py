"""The settings of Blind2Grad that its paper varies, group by group."""

from __future__ import annotations

from typing import Any

from napari_blindspot.config.blind2grad import OMEGA, Blind2GradSettings

Settings = dict[str, Any]

_DEFAULTS: Settings = {
    name: field.default for name, field in Blind2GradSettings.model_fields.items()
} | {"omega": OMEGA["plain"]}
_GREYS = (15.0, 25.0, 40.0, 55.0, 70.0, 85.0, 100.0)
_MASKS = ("uniform", "bernoulli", "dual")

GROUPS: dict[str, list[Settings]] = {
    "loss form": [{"loss_form": one} for one in ("absolute", "signed", "decoupled")],
    "mask, T-standout": [
        {"mask": mask, "standout": standout}
        for mask in _MASKS
        for standout in ("on", "off")
    ],
    "ω": [{"omega": one} for one in (0.0, 0.2, 0.5, 0.8, 1.0)],
    "γ": [{"gamma": one} for one in (0.0, 0.25, 0.5, 1.0)],
    "ε_s": [{"eps_s": one} for one in _GREYS],
    "ε_g": [{"eps_g": one} for one in _GREYS],
    "ε_g, voxel by voxel": [{"eps_g": one, "detail_by": "pixel"} for one in _GREYS],
    "answer": [
        *(
            {"average": average, "omega": omega}
            for omega in (0.8, 0.0)
            for average in ("all", "hidden", "none")
        ),
        {"combine": True},
    ],
    "gradient flow": [
        {"gradient_flow": flow, "loss_form": form}
        for flow in ("stopped", "live")
        for form in ("absolute", "signed", "decoupled")
    ],
}
"""What is varied, the disputed form of the loss first."""


def name_of(settings: Settings) -> str:
    """Write settings as a key: the loss form, and what differs from the defaults.

    The form is always named, so that figures keep their meaning if its default changes.
    """
    form = settings.get("loss_form", _DEFAULTS["loss_form"])
    other = [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in sorted(settings.items())
        if name != "loss_form" and value != _DEFAULTS[name]
    ]
    return " ".join([f"loss_form={form}", *other])
