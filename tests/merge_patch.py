"""JSON Merge Patch (RFC 7396), as the page applies it."""

from __future__ import annotations

from typing import Any


def applied(document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The document after a patch."""
    changed = dict(document)
    for key, value in patch.items():
        if value is None:
            changed.pop(key, None)
        elif isinstance(value, dict):
            old = changed.get(key)
            changed[key] = applied(old if isinstance(old, dict) else {}, value)
        else:
            changed[key] = value
    return changed
