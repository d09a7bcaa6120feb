"""The model file: weights and everything needed to use them, never a pickle.

A ``.safetensors`` file whose JSON header holds the settings, the normalisation and
noise of every channel, the software version and the provenance.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_blindspot.config import NetworkSettings
from napari_blindspot.config.blind2grad import MaskedNetworkSettings
from napari_blindspot.config.students import StudentSettings
from napari_blindspot.config.tunable import HoleSettings
from napari_blindspot.errors import InputError, ModelFileError
from napari_blindspot.io.new_file import check_new_file, write_new_file
from napari_blindspot.location import as_path
from napari_blindspot.model import Model
from napari_blindspot.networks.blind2grad import Blind2GradNetwork
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.networks.student import StudentNetwork
from napari_blindspot.noise.models import PoissonGaussian, noise_from_dict
from napari_blindspot.noise.recalibration import Recalibration
from napari_blindspot.normalize import Normalization

if TYPE_CHECKING:
    from pathlib import Path

    from napari_blindspot.model import Answer, Learner
    from napari_blindspot.networks.blindspot import Hole

FORMAT = 6
"""The newest model format this version reads.

A file has the lowest that can hold its model: 6 of a masked network that sees several
channels together; 5 of one that sees one; 4 if its network
sees its planes in units of their noise; 3 if every channel has a start of its own, or
of a student or a teacher that answers otherwise than it was trained; 2 if channels go
together or the noise is no plain camera's; else 1.
"""

_KEY = "napari_blindspot"
_KIND = "model file"


def save_model(model: Model, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model to a ``.safetensors`` file.

    Parameters
    ----------
    model
        What `train` returned.
    path
        Where to; ``.safetensors`` is added to a name without any suffix.
    overwrite
        Replace an existing file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputExistsError
        If the file exists and `overwrite` is False.
    InputError
        If `model` is no model, the name ends in something else, such as ``.pt``, or
        its folder does not exist or may not be written to.
    RunError
        If it cannot be written.
    """
    _check_is_model(model)
    target = check_model_path(path, overwrite=overwrite)
    write_new_file(target, model_content(model), _KIND, overwrite=overwrite)
    return target


def model_content(model: Model) -> bytes:
    """Return what a model file of a model holds."""
    from safetensors.torch import save

    header = {_KEY: json.dumps(_facts(model)), "format": "pt"}
    weights = {
        name: tensor.contiguous() for name, tensor in model.network.state_dict().items()
    }
    return save(weights, header)


def model_digest(model: Model) -> str:
    """Return what a model is known by: its weights and how they are used.

    When and how it was made does not count.
    """
    facts = {key: value for key, value in _facts(model).items() if key != "provenance"}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_model_path(path: str | Path, *, overwrite: bool) -> Path:
    """Return the path of a model file to be written, or refuse before any work.

    Raises
    ------
    OutputExistsError
        If it exists and `overwrite` is False.
    InputError
        If its folder does not exist or may not be written to, or the suffix belongs
        to another format.
    """
    target = as_path(path)
    if not target.suffix:
        target = target.with_suffix(".safetensors")
    return check_new_file(target, _KIND, (".safetensors",), overwrite=overwrite)


def load_model(path: str | Path) -> Model:
    """Read a model file.

    Parameters
    ----------
    path
        A file that `save_model` wrote.

    Returns
    -------
    Model

    Raises
    ------
    ModelFileError
        If the file is missing, truncated, from a newer version or not a model.
    InputError
        If `path` is no path of this machine.
    """
    path = as_path(path)
    read_header(path)  # says in words what is wrong with the file
    try:
        return model_from(path.read_bytes(), str(path))
    except OSError as error:
        raise ModelFileError(
            f"{path} could not be read ({error.strerror or error}); check its disk."
        ) from error


def as_model(given: Model | str | Path) -> Model:
    """Return a model, or the one that a model file holds.

    Raises
    ------
    ModelFileError, InputError
        As `load_model`, or if it is neither.
    """
    if isinstance(given, (str, os.PathLike)):
        return load_model(given)
    _check_is_model(given)
    return given


def _check_is_model(given: Any) -> None:
    if not isinstance(given, Model):
        raise InputError(
            f"model={given!r} is of type {type(given).__name__}, which is no model; "
            f"give what 'train' or 'load_model' returned."
        )


def model_from(content: bytes, where: str) -> Model:
    """Return the model that the bytes of a model file hold.

    Parameters
    ----------
    content
        From `model_content`, or of a file.
    where
        What messages call it.

    Raises
    ------
    ModelFileError
        If they are damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        facts = json.loads(_header_of(content)[_KEY])
        network = _network(facts)
        network.load_state_dict(load(content))
        return Model(
            network.eval(),
            tuple(Normalization(**scale) for scale in facts["scales"]),
            tuple(noise_from_dict(noise) for noise in facts["noise"]),
            facts["context_axis"],
            facts["method"],
            facts["provenance"],
            tuple(Recalibration.from_dict(one) for one in facts["recalibration"])
            if "recalibration" in facts
            else (),
            _hole(facts),
            _answer(facts),
        )
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelFileError(
            f"{where} is damaged: its weights do not fit its own description; train "
            f"the model again or fetch the file once more."
        ) from error


def _header_of(content: bytes) -> dict[str, str]:
    """Return the texts in the header of safetensors bytes."""
    length = int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8 : 8 + length])["__metadata__"])


def _network(facts: dict[str, Any]) -> Learner | StudentNetwork:
    kind, shape = facts["kind"], facts["network"]
    if kind == "student":
        return StudentNetwork(StudentSettings(**shape))
    if kind == "teacher":
        return BlindSpotNetwork(NetworkSettings(**shape))
    if kind == "masked":
        return Blind2GradNetwork(MaskedNetworkSettings(**shape))
    raise ValueError(f"kind={kind!r} is not known")


def _hole(facts: dict[str, Any]) -> Hole | None:
    if "hole" not in facts:
        return None
    return HoleSettings(hole=tuple(facts["hole"])).hole  # type: ignore[return-value]


def _answer(facts: dict[str, Any]) -> Answer:
    answer = facts.get("answer", "posterior")
    if answer not in ("posterior", "mean"):
        raise ValueError(f"answer={answer!r} is not known")
    return answer  # type: ignore[no-any-return]


def read_header(path: str | Path) -> dict[str, Any]:
    """Return the facts in a model file's header without reading its weights.

    Raises
    ------
    ModelFileError
        As `load_model`.
    """
    from safetensors import SafetensorError, safe_open

    path = as_path(path)
    if not path.is_file():
        raise ModelFileError(
            f"There is no model file {path}; check the spelling, or make one with "
            f"'napari-blindspot train INPUT {path.name}'."
        )
    if not os.access(path, os.R_OK):
        raise ModelFileError(f"{path} may not be read; ask for permission to read it.")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"{path} cannot be read as a model file: it is truncated or no safetensors "
            f"file; give a file made by 'napari-blindspot train'."
        ) from error
    if _KEY not in header:
        raise ModelFileError(
            f"{path} is a safetensors file but not a napari-blindspot model; give a "
            f"file made by 'napari-blindspot train'."
        )
    try:
        facts: dict[str, Any] = json.loads(header[_KEY])
        version = int(facts["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"The header of {path} is damaged; train the model again or fetch the "
            f"file once more."
        ) from error
    if version > FORMAT:
        raise ModelFileError(
            f"{path} was written by a newer version (model format {version}, this "
            f"version reads up to {FORMAT}); update napari-blindspot."
        )
    return facts


def _lowest_format(model: Model) -> int:
    """Return the lowest format that can hold the model."""
    if model.kind == "masked":
        return 5 if model.settings.channels == 1 else 6
    if getattr(model.settings, "units", "scale") == "noise":
        return 4
    if model.is_student or model.answer == "mean":
        return 3
    if model.teacher.settings.starts > 1 or _answers_elsewhere(model):
        return 3
    plain = model.settings.channels == 1 and all(
        type(noise) is PoissonGaussian and not noise.counting for noise in model.noise
    )
    return 1 if plain else 2


def _answers_elsewhere(model: Model) -> bool:
    """Return whether a teacher answers behind another hole than in training."""
    return model.result_hole != model.teacher.settings.hole


def _facts(model: Model) -> dict[str, Any]:
    network = model.settings.model_dump()
    if model.settings.channels == 1:  # older versions know no such networks
        network.pop("channels", None)
        network.pop("covariance", None)
    for name, usual in (("starts", 1), ("units", "scale")):
        if network.get(name) == usual:
            del network[name]
    facts: dict[str, Any] = {"kind": model.kind}
    if model.has_hole and _answers_elsewhere(model):
        facts["hole"] = list(model.result_hole)
    if model.answer != "posterior":
        facts["answer"] = model.answer
    return facts | {
        "format": _lowest_format(model),
        "method": model.method,
        "network": network,
        "scales": [asdict(scale) for scale in model.scales],
        "noise": [noise.as_dict() for noise in model.noise],
        "recalibration": [one.as_dict() for one in model.recalibration],
        "context_axis": model.context_axis,
        "provenance": model.provenance,
    }
