"""JSON documents: without what is not known, without account numbers, and the change from one to the next. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

from notifications.message import clean

Document = dict[str, Any]

_MAY_BE_ACCOUNT = re.compile(r"[A-Z]\d{5}|webhooks")


def published(value: Any) -> Any:
    """A value as it may be shown: account numbers masked in all texts and keys, and no null in any object. JSON has no
    number that is not finite: it counts as not known."""
    if isinstance(value, str):
        return clean(value) if _MAY_BE_ACCOUNT.search(value) else value
    if isinstance(value, Mapping):
        return {published(key): published(entry) for key, entry in value.items() if not _unknown(entry)}
    if isinstance(value, list | tuple):
        return [published(entry) for entry in value]
    return value


def _unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not isfinite(value))


def merge_patch(before: Document, after: Document) -> Document:
    """The JSON Merge Patch (RFC 7396) from one document without null to another; empty if nothing changed."""
    patch: Document = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        if key not in before:
            patch[key] = value
            continue
        old = before[key]
        if isinstance(old, dict) and isinstance(value, dict):
            if changed := merge_patch(old, value):
                patch[key] = changed
        elif not _same(old, value):
            patch[key] = value
    return patch


def _same(one: Any, other: Any) -> bool:
    """Whether both are the same JSON, in which false is not 0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
