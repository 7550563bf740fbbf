"""JSON and YAML values against annotated types, and frozen dataclasses built from them."""

import dataclasses
import json
import types
import typing
from typing import Any, Literal, TypeVar

from nnunet_da.errors import UserError

Built = TypeVar("Built")
MOST_SHOWN = 200


def build(kind: type[Built], values: Any, where: str) -> Built:
    """A dataclass from an object of a file; its own checks run afterwards.

    Args:
        kind: dataclass whose fields are annotated with JSON types.
        values: what the file holds.
        where: words for errors, such as "study.yaml, arm 2".

    Raises:
        UserError: no object, an unknown or missing name, a value of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if not isinstance(values, dict):
        raise UserError(f"{where} must be an object of names and values, got {_shown(values)}: correct it")
    unknown = [str(name) for name in values if name not in fields]
    if unknown:
        raise UserError(f"{where}: '{unknown[0]}' is unknown, expected one of {', '.join(fields)}: correct or remove it")
    missing = [name for name, field in fields.items() if name not in values and _is_required(field)]
    if missing:
        raise UserError(f"{where} must hold '{missing[0]}', it does not: add it")
    hints = typing.get_type_hints(kind)
    for name, value in values.items():
        if not fits(value, hints[name]):
            raise UserError(f"{where}: '{name}' must be {describe(hints[name])}, got {_shown(value)}: correct it")
    return kind(**values)


def fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value has the annotated type; an int is a float, a bool is no number, floats must be finite."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, option) for option in arguments)
    if origin is Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(k, arguments[0]) and fits(v, arguments[1]) for k, v in value.items())
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return value is None if hint is type(None) else isinstance(value, hint)


def describe(hint: Any) -> str:
    """The annotated type in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe(option) for option in arguments)
    if origin is Literal:
        return "one of " + ", ".join(json.dumps(option) for option in arguments)
    if origin is list:
        return f"a list of {describe(arguments[0])}"
    if origin is dict and arguments[1] is not Any:
        return f"an object of names with {describe(arguments[1])} each"
    if origin is dict or hint is dict:
        return "an object of names and values"
    if dataclasses.is_dataclass(hint):
        return f"an object of {', '.join(field.name for field in dataclasses.fields(hint))}"
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", type(None): "null", Any: "a value"}
    return names[hint]


def _shown(value: Any) -> str:
    """A value for an error, not longer than a line can bear."""
    try:
        text = json.dumps(value, default=str)
    except ValueError:  # it holds itself, by an anchor of YAML
        text = repr(value)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 4] + " ..."


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
