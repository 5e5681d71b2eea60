"""Read a configuration file, and a changed one while the manager runs: all of it, or nothing.

`load` reads a file or raises ConfigError with everything that is wrong in it; `reload` keeps the old configuration
unless all of the new one is right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from position_manager.config.contradictions import contradictions
from position_manager.config.errors import ConfigError, Key, fault_of, found, read_document
from position_manager.config.schema import Config


def load(path: Path) -> Config:
    """Read and check a file.

    Raises ConfigError with every fault, each with file, line, key and what is allowed.
    """
    document = read_document(path)
    faults = list(document.faults)
    values: Any = document.values
    removed: list[Key] = []
    config: Config | None = None
    while config is None:
        try:
            config = Config.model_validate(values)
        except ValidationError as error:
            wrong = [(detail, found(values, detail["loc"])) for detail in error.errors(include_url=False)]
            # What follows only from a removal is no fault of the file.
            real = [
                detail
                for detail, key in wrong
                if not any(_related(key, gone) for gone in removed)
                # pydantic counts only the entries that are right
                and not (detail["type"] == "too_short" and detail["input"])
            ]
            faults += [fault_of(detail, document, Config) for detail in real]
            # The rest is checked again without the faulty keys: one fault must not hide another.
            keys = [_to_remove(key, detail["type"]) for detail, key in wrong]
            pruned = _without(values, keys)
            if pruned == values:
                break
            values, removed = pruned, removed + keys
    if config is not None:
        reported = (item for item in contradictions(config) if not any(_related(item[0], key) for key in removed))
        faults += [document.fault(key, text) for key, text in reported]
    if faults or config is None:
        raise ConfigError(path, faults)
    return config


def _to_remove(key: Key, error: str) -> Key:
    """What must go with an error: where a key is missing, what it is missing in; for an entry of a list the list, so
    that the indexes of the others stay those of the file."""
    key = key[:-1] if error == "missing" else key
    return key[:-1] if key and isinstance(key[-1], int) else key


def _related(one: Key, other: Key) -> bool:
    return one[: len(other)] == other or other[: len(one)] == one


def reload(old: Config, path: Path) -> Config | ConfigError:
    """The new configuration, or why the old one must stay: all or nothing. Whatever only a new start can change (mode,
    accounts, the gateway, the simulated broker, the calendar, the recipients of notifications) is refused as a
    fault."""
    try:
        new = load(path)
    except ConfigError as error:
        return error
    account = ("mode", "accounts", "expected_accounts", "gateway", "sim")
    fixed = (*account, "hours", "notifications", "heartbeat", "metrics")
    changed = [name for name in fixed if getattr(old, name) != getattr(new, name)]
    if not changed:
        return new
    document = read_document(path)
    return ConfigError(
        path, [document.fault((name,), "cannot change while running: restart for it") for name in changed]
    )


def _without(values: Any, keys: list[Key]) -> Any:
    """A copy without some keys."""
    here = {key[0] for key in keys if len(key) == 1}
    inner = {part: [key[1:] for key in keys if len(key) > 1 and key[0] == part] for part in {k[0] for k in keys if k}}
    if isinstance(values, dict):
        return {name: _without(value, inner.get(name, [])) for name, value in values.items() if name not in here}
    if isinstance(values, list):
        return [_without(value, inner.get(index, [])) for index, value in enumerate(values) if index not in here]
    return values
