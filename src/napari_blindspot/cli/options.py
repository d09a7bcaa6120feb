"""Shell options made from the settings: one description of names and defaults."""

from __future__ import annotations

import inspect
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from cyclopts import CoercionError, Group, Parameter

from napari_blindspot.cli.wording import options_named
from napari_blindspot.config import (
    BudgetSettings,
    CameraSettings,
    CompareSettings,
    DeviceSettings,
    DistillSettings,
    ModelChoice,
    NoiseSettings,
    OpenSettings,
    OutputSettings,
    PreviewBudget,
    PreviewSettings,
    Settings,
    StreamSettings,
    TrainSettings,
)
from napari_blindspot.config.batch import FolderSettings
from napari_blindspot.config.blind2grad import AnswerSettings, Blind2GradSettings
from napari_blindspot.config.objective import ObjectiveSettings
from napari_blindspot.config.tunable import (
    HoleSettings,
    StrengthSettings,
    StudentChoice,
    TunableSettings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cyclopts import Token
    from pydantic.fields import FieldInfo

F = TypeVar("F", bound="Callable[..., Any]")

_TITLES: tuple[tuple[type[Settings], str], ...] = (
    (OpenSettings, "Input"),
    (FolderSettings, "Folder as input"),
    (PreviewSettings, "Plane"),
    (CompareSettings, "Comparison"),
    (BudgetSettings, "Training time (one of the three)"),
    (PreviewBudget, "Training time (one of the three)"),
    (TrainSettings, "Training"),
    (ModelChoice, "Trained model"),
    (HoleSettings, "Blind spot"),
    (TunableSettings, "Blind spot"),
    (StudentChoice, "Student"),
    (DistillSettings, "Student"),
    (NoiseSettings, "Noise"),
    (CameraSettings, "Camera"),
    (OutputSettings, "Output"),
    (StrengthSettings, "Output"),
    (StreamSettings, "Output"),
    (DeviceSettings, "Device"),
    (ObjectiveSettings, "Advanced training"),
    (Blind2GradSettings, "Method blind2grad"),
    (AnswerSettings, "Method blind2grad"),
)
_BY_TITLE = {
    title: Group(title, sort_key=order)
    for order, title in enumerate(dict.fromkeys(title for _, title in _TITLES))
}
KINDS = tuple(kind for kind, _ in _TITLES)
"""All classes of settings that options are made of."""

_GROUPS = {kind: _BY_TITLE[title] for kind, title in _TITLES}
INPUT, OUTPUT = _BY_TITLE["Input"], _BY_TITLE["Output"]
REPORT = Group("Report", sort_key=len(_BY_TITLE))


def options_from(kind: type[Settings]) -> Callable[[F], F]:
    """Give a command one option per field of `kind`, in place of its ``**options``.

    Options that the user leaves out are not passed on, so that the settings class
    stays the only home of defaults.

    Parameters
    ----------
    kind
        The settings class whose fields become options.
    """

    def decorate(command: F) -> F:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        options = [_option(kind, name) for name in kind.model_fields]
        taken = {p.name for p in own}
        added = [option for option in options if option.name not in taken]
        merged = sorted([*own, *added], key=lambda parameter: parameter.kind)
        command.__signature__ = signature.replace(parameters=merged)  # type: ignore[attr-defined]
        return command

    return decorate


def _option(kind: type[Settings], name: str) -> inspect.Parameter:
    field = kind.model_fields[name]
    parameter = Parameter(
        help=options_named(field.description or ""),
        group=_GROUPS[_defining_class(kind, name)],
        negative=(),
        converter=_converter(field.annotation),
        metavar=_metavar(field.annotation),
        show_choices=False,
        show_default=_shown_default(field),
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=field.default,
        annotation=Annotated[_unlimited(field.annotation), parameter],
    )


def _unlimited(annotation: Any) -> Any:
    """Return a type without the limits of its parts, which pydantic alone would tell.

    The settings know them too, and refuse in a sentence what lies beyond.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _unlimited(parts[0])
    if origin is Literal or not parts:
        return annotation
    bare = tuple(map(_unlimited, parts))
    return Union[bare] if origin in (Union, UnionType) else origin[bare]  # noqa: UP007


def _converter(annotation: Any) -> Callable[[Any, Sequence[Token]], Any] | None:
    """Return how words become whole numbers, None where there are none.

    By itself cyclopts rounds 1.5 to a whole number, which hides a mistake.
    """
    kinds = {annotation, *get_args(annotation)}
    if str in kinds and int in kinds:
        return _index_or_name
    tuples = [kind for kind in kinds if get_origin(kind) is tuple]
    if any(float not in get_args(kind) for kind in tuples):
        return _whole_numbers_or_auto if Literal["auto"] in kinds else _whole_numbers
    return _whole_number if int in kinds else None


def _metavar(annotation: Any) -> str | None:
    """Return the words that may be typed, None where that is a kind of value.

    Sizes stand for themselves beside the word that may take their place.
    """
    kinds = [annotation, *get_args(annotation)]
    words = [w for kind in kinds if get_origin(kind) is Literal for w in get_args(kind)]
    if not words:
        return None
    tuples = [kind for kind in kinds if get_origin(kind) is tuple]
    sizes = [" ".join("INT" for _ in get_args(one)) for one in tuples]
    return "|".join([*sizes, *words])


def _whole_number(kind: Any, tokens: Sequence[Token]) -> int:
    return _whole_numbers(kind, tokens)[0]


def _whole_numbers(kind: Any, tokens: Sequence[Token]) -> tuple[int, ...]:
    try:
        return tuple(int(token.value) for token in tokens)
    except ValueError:
        words = " ".join(token.value for token in tokens)
        raise CoercionError(
            msg=f"{tokens[0].keyword} {words} cannot be used; give whole numbers."
            if len(tokens) > 1
            else f"{tokens[0].keyword} {words} cannot be used; give a whole number."
        ) from None


def _whole_numbers_or_auto(kind: Any, tokens: Sequence[Token]) -> tuple[int, ...] | str:
    if tokens[0].value == "auto":
        return "auto"
    # cyclopts counts no words of a union, so too few come as one.
    if len(tokens) == 1:
        raise CoercionError(
            msg=f"{tokens[0].keyword} needs 3 values with blanks between, or auto."
        )
    return _whole_numbers(kind, tokens)


def _index_or_name(kind: Any, tokens: Sequence[Token]) -> int | str:
    word = tokens[0].value
    return int(word) if word.lstrip("-").isdecimal() else word


def _defining_class(kind: type[Settings], name: str) -> type[Settings]:
    """Return the class of the family of `kind` that declares the field."""
    return next(
        cls
        for cls in kind.__mro__
        if name in inspect.get_annotations(cls) and issubclass(cls, Settings)
    )


def _shown_default(field: FieldInfo) -> bool | Callable[[Any], str]:
    """Show tuples as they are typed; show no default for switches and for None."""
    if isinstance(field.default, tuple):
        return lambda value: " ".join(str(part) for part in value)
    return field.default is not None and not isinstance(field.default, bool)
