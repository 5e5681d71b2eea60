"""Plain data as JSON values and back: dataclasses, decimals, moments, enumerations, and collections of them.

Decimals and moments are text; a moment is ISO 8601 with its offset from UTC. Reading follows the types that a
dataclass declares and rejects whatever is not exactly of that shape; a field with a default may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class DecodeError(ValueError):
    """A value that is not of the shape it must have; ``field`` is its path in the document."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def encode(value: Any) -> Any:
    """Return a value as what ``json`` can write. Keys of mappings become text."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): encode(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [encode(each) for each in value]
    if is_dataclass(value):
        return {name: encode(getattr(value, name)) for name in _names_of(value.__class__)}
    raise TypeError(f"{type(value).__name__} has no form in a document")


def decode(kind: type[T], value: Any, field: str) -> T:
    """Return the value of a declared type that a JSON value represents. Raises DecodeError, which names the field."""
    result: T = _decode(kind, value, field)
    return result


def _decode(kind: Any, value: Any, field: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        (other,) = (each for each in arguments if each is not NoneType)
        return _decode(other, value, field)
    if origin is list:
        return [_decode(arguments[0], each, f"{field}[{at}]") for at, each in enumerate(_of(list, value, field))]
    if origin is tuple:
        return _decode_tuple(arguments, _of(list, value, field), field)
    if origin is dict:
        entries = _of(dict, value, field).items()
        key_kind, value_kind = arguments
        return {
            _decode_key(key_kind, key, f"{field}.{key}"): _decode(value_kind, each, f"{field}.{key}")
            for key, each in entries
        }
    if is_dataclass(kind):
        return _decode_dataclass(kind, _of(dict, value, field), field)
    return _decode_scalar(kind, value, field)


def _decode_tuple(arguments: tuple[Any, ...], values: list[Any], field: str) -> tuple[Any, ...]:
    if arguments[-1] is Ellipsis:
        return tuple(_decode(arguments[0], each, f"{field}[{at}]") for at, each in enumerate(values))
    if len(values) != len(arguments):
        raise DecodeError(field, f"has {len(values)} entries instead of {len(arguments)}")
    return tuple(
        _decode(kind, each, f"{field}[{at}]") for at, (kind, each) in enumerate(zip(arguments, values, strict=True))
    )


def _decode_dataclass(kind: Any, value: dict[str, Any], field: str) -> Any:
    types = _types_of(kind)
    names = []
    for each in fields(kind):
        if each.name in value:
            names.append(each.name)
        elif each.default is MISSING and each.default_factory is MISSING:
            raise DecodeError(f"{field}.{each.name}", "is missing")
    for name in value:
        if name not in types:
            raise DecodeError(f"{field}.{name}", "is not a field of this document")
    return kind(**{name: _decode(types[name], value[name], f"{field}.{name}") for name in names})


def _decode_key(kind: Any, key: str, field: str) -> Any:
    if kind is not int:
        return key
    try:
        return int(key)
    except ValueError:
        raise DecodeError(field, f"the key {key!r} is not a whole number") from None


def _decode_scalar(kind: Any, value: Any, field: str) -> Any:
    if kind is Decimal:
        return _decimal(_of(str, value, field), field)
    if kind is bool or kind is str:
        return _of(kind, value, field)
    if kind is int:
        if isinstance(value, bool):
            raise DecodeError(field, f"is {value}, not a whole number")
        return _of(int, value, field)
    if issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise DecodeError(field, f"is {value!r}; it must be one of {[each.value for each in kind]}") from None
    return _moment(kind, _of(str, value, field), field)


def _decimal(text: str, field: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise DecodeError(field, f"is {text!r}, not a number") from None
    if not number.is_finite():
        raise DecodeError(field, f"is {text!r}, not a finite number")
    return number


def _moment(kind: type[date], text: str, field: str) -> date:
    try:
        moment = kind.fromisoformat(text)
    except ValueError:
        raise DecodeError(field, f"is {text!r}, not a {kind.__name__} in ISO 8601") from None
    if isinstance(moment, datetime) and moment.utcoffset() is None:
        raise DecodeError(field, f"is {text!r}, which has no offset from UTC")
    return moment


def _of(kind: type[Any], value: Any, field: str) -> Any:
    names = {str: "text", dict: "an object", list: "a list", int: "a whole number", bool: "true or false"}
    if not isinstance(value, kind):
        raise DecodeError(field, f"is {value!r}, not {names[kind]}")
    return value


@lru_cache(maxsize=64)
def _names_of(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))


@lru_cache(maxsize=64)
def _types_of(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
