"""What is wrong with a configuration file: each fault with file, line and key, all of them at once.

The file is read as a tree of YAML nodes and not as values, because only nodes know their lines and only they show a
key that is written twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ib_connection.accounts import masked

Key = tuple[str | int, ...]

_SECRET_KEYS = frozenset({"accounts", "expected_accounts", "account"})


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong: at which line (from 1) and key, and what is allowed."""

    line: int
    key: str
    text: str


class ConfigError(Exception):
    """A configuration that cannot be used. ``str()`` is its faults, one a line: ``file:line: key: what is wrong``."""

    def __init__(self, path: Path, faults: Iterable[Fault]) -> None:
        self.path = path
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(f"{path}:{f.line}: {f.key}: {f.text}" for f in self.faults))


@dataclass
class Document:
    """The values of a file, the line of each key, and the faults of its form."""

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Key, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def line_of(self, key: Key) -> int:
        """The line of a key, or of the nearest part of it that is in the file."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)

    def fault(self, key: Key, text: str) -> Fault:
        return Fault(self.line_of(key), key_text(key), text)


def key_text(key: Key) -> str:
    """A key in readable form: ``groups.condor.legs[1].strike``."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the whole file"


def read_document(path: Path) -> Document:
    """Read a YAML file. Raises ConfigError if it cannot be read or is not a mapping at all."""
    try:
        node = YAML().compose(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(path, [Fault(1, "the whole file", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, [Fault(1, "the whole file", f"is not UTF-8 text: {error.reason}")]) from error
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        line = 1 if mark is None else mark.line + 1
        raise ConfigError(path, [Fault(line, "the whole file", f"is not YAML: {problem}")]) from error
    if not isinstance(node, MappingNode):
        raise ConfigError(path, [Fault(1, "the whole file", "must be keys with values, at least: mode")])
    document = Document()
    document.values = _value(node, (), document, ())
    return document


def _value(node: Node, key: Key, document: Document, above: tuple[Node, ...]) -> Any:
    """The plain value of a node; numbers stay text, so that 0.10 is exactly that."""
    document.lines.setdefault(key, node.start_mark.line + 1)
    if any(node is other for other in above):
        document.faults.append(document.fault(key, "refers to itself"))
        return None
    above = (*above, node)
    if isinstance(node, MappingNode):
        return _mapping(node, key, document, above)
    if isinstance(node, SequenceNode):
        return [_value(item, (*key, index), document, above) for index, item in enumerate(node.value)]
    return _scalar(node, key, document)


def _mapping(node: MappingNode, key: Key, document: Document, above: tuple[Node, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name_node, value_node in node.value:
        line = name_node.start_mark.line + 1
        if not isinstance(name_node, ScalarNode):
            document.faults.append(Fault(line, key_text(key), "has a key that is not a word"))
            continue
        name = str(name_node.value)
        inner = (*key, name)
        if name in values:
            first = document.lines[inner]
            document.faults.append(Fault(line, key_text(inner), f"is given twice, first in line {first}"))
            continue
        document.lines[inner] = line
        values[name] = _value(value_node, inner, document, above)
    return values


def _scalar(node: Node, key: Key, document: Document) -> Any:
    kind = str(node.tag).rpartition(":")[2]
    text = str(node.value)
    if kind == "null":
        document.faults.append(document.fault(key, "has no value; give it one or remove the key"))
        return None
    if kind == "bool":
        return text.lower() == "true"
    return text


def found(values: Any, location: Iterable[str | int]) -> Key:
    """The key in the file that a location of pydantic's names: without the tags of unions, which are no keys.

    The last part stays even if it is not in the file: it may be the one that is missing.
    """
    key: list[str | int] = []
    parts = tuple(location)
    for index, part in enumerate(parts):
        in_list = isinstance(values, list) and isinstance(part, int) and part < len(values)
        if in_list or (isinstance(values, dict) and part in values):
            values = values[part]
        elif index < len(parts) - 1 or part in ("rule", "off"):
            continue
        key.append(part)
    return tuple(key)


def fault_of(error: ErrorDetails, document: Document, model: type[BaseModel]) -> Fault:
    """One of pydantic's errors in the words of the file."""
    key = found(document.values, error["loc"])
    if error["type"] == "extra_forbidden":
        return document.fault(key, _unknown(str(key[-1]), known_keys(model, key[:-1])))
    if error["type"] == "missing":
        return document.fault(key, "is missing and has no default")
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        allowed = ", ".join(known_keys(model, key))
        return document.fault(key, f"must be keys with values{': ' + allowed if allowed else ''}")
    text = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    text = (
        text.replace("String should", "must").replace("Input should be", "must be").replace("a valid tuple", "a list")
    )
    value = error["input"]
    if isinstance(value, (str, int)):
        shown = str(value) if _SECRET_KEYS.isdisjoint(key) else masked(str(value))
        text = f"{text}; it is {shown!r}"
    return document.fault(key, text[:1].lower() + text[1:])


def _unknown(name: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"; did you mean {near[0]}?" if near else ";"
    return f"is not a known key{guess} Allowed: {', '.join(known)}"


def known_keys(model: type[BaseModel], key: Key) -> tuple[str, ...]:
    """The keys allowed at a place in the file: names and indexes of entries lead no deeper into the model."""
    for part in key:
        info = model.model_fields.get(part) if isinstance(part, str) else None
        if info is not None:
            model = next(_models(info.annotation), model)
    return tuple(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
