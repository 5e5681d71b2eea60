"""The settings of a role, each converted once to the type that its argument spec declares."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible.template import is_trusted_as_template, trust_as_template

DOCUMENTATION = """
name: role_settings
short_description: The settings of a role, converted to their declared types
description:
  - >-
    Ansible validates a copy of a role's arguments, and the tasks of the role still see the values as they were
    written: C(-e name=false) is the text C(false), which is true. This lookup reads the variables of a role, converts
    each to the type of its option in C(meta/argument_specs.yml), and returns them without the role's prefix. The result
    is the same whether a value comes from an inventory, from C(-e name=value), or from a vault.
  - >-
    In the option C(<role>_instances) the overrides of each instance are converted as the settings that they override.
  - >-
    A secret that holds a template marker is reported, because Ansible would deploy another text than the one written.
options:
  _terms:
    description: The names of the roles.
    required: true
  problems:
    description: >-
      Return the list of problems (one sentence for each value that cannot be converted) instead of the settings.
      Without it a problem is an error.
    type: bool
    default: false
"""
EXAMPLES = """
- ansible.builtin.debug:
    msg: "{{ lookup('role_settings', 'ec2_host').elastic_ip }}"
- ansible.builtin.assert:
    that: lookup('role_settings', 'ec2_host', problems=true) | length == 0
"""
RETURN = """
_raw:
  description: One mapping of settings for each role, or one list of problems for all of them.
  type: list
"""

ROLES = Path(__file__).resolve().parents[1] / "roles"
TRUE = ("yes", "true", "on", "1")
FALSE = ("no", "false", "off", "0")
FORMS = {
    "bool": "Write true or false.",
    "int": "Write a whole number in digits, for example 600.",
    "str": "Write it as text in quotes.",
    "path": "Write a path in quotes.",
    "list": "Write a list, one entry a line after a hyphen; on the command line entries with commas between them.",
    "dict": 'Write keys with values; on the command line as JSON, for example -e \'{"NAME": {"KEY": "VALUE"}}\'.',
}
NEXT_ENTRY = re.compile(r"\s*,\s*")
NEXT_ADDRESS = re.compile(r"\s*,\s*(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
WHOLE_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
# Not printed in an error: secrets by their option, and what identifies an account.
PRIVATE = re.compile(r"userid|account")
MARKER = re.compile(r"\{\{|\{%|\{#")
REFERENCE = re.compile(r"\s*\{\{-?\s*([A-Za-z_][A-Za-z0-9_]*)\s*-?\}\}\s*")
EXPRESSION = re.compile(r"\s*\{\{(?:(?!\{\{|\}\}).)*\}\}\s*", re.DOTALL)


class UnusableError(ValueError):
    """A value that cannot be converted; the message completes the sentence "<variable> …"."""


def converted(value: Any, option: Mapping[str, Any], *, private: bool = False) -> Any:
    """The value in the type of its option. Raises UnusableError with what it is and the form to write."""
    kind = option.get("type", "str")
    found = _of_kind(value, kind, option, private)
    choices = option.get("choices")
    if choices and found not in choices:
        raise UnusableError(f"is {_shown(value, private)}. Use one of: {', '.join(map(str, choices))}.")
    return found


def _of_kind(value: Any, kind: str, option: Mapping[str, Any], private: bool) -> Any:
    if value is None:
        raise UnusableError(f"has no value. {FORMS[kind]} To use the default, remove the line.")
    if kind == "bool":
        return _bool(value, private)
    if kind == "int":
        return _int(value, private)
    if kind == "list":
        entries = _list(value, private)
        elements = {"type": option.get("elements", "str")}
        return [_entry(number, entry, elements, private) for number, entry in enumerate(entries, start=1)]
    if kind == "dict":
        return _dict(value, private)
    return _text(value, kind, private)


def _entry(number: int, value: Any, option: Mapping[str, Any], private: bool) -> Any:
    try:
        return converted(value, option, private=private)
    except UnusableError as error:
        raise UnusableError(f"has an entry {number} that {error}") from error


def _bool(value: Any, private: bool) -> bool:
    word = str(value).strip().lower()
    if isinstance(value, bool | int | str) and word in TRUE + FALSE:
        return word in TRUE
    raise UnusableError(f"is {_shown(value, private)}. {FORMS['bool']}")


def _int(value: Any, private: bool) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and WHOLE_NUMBER.fullmatch(value.strip()):
        return int(value)
    raise UnusableError(f"is {_shown(value, private)}. {FORMS['int']}")


def _list(value: Any, private: bool) -> list[Any]:
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return []
        if text.startswith("["):
            return _list(_json(text, "list", private), private)
        return (NEXT_ADDRESS if "://" in text else NEXT_ENTRY).split(text)
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if isinstance(value, Sequence):
        return list(value)
    raise UnusableError(f"is {_shown(value, private)}. {FORMS['list']}")


def _dict(value: Any, private: bool) -> dict[Any, Any]:
    if isinstance(value, str) and value.strip().startswith("{"):
        value = _json(value, "dict", private)
    if isinstance(value, Mapping):
        return dict(value)
    raise UnusableError(f"is {_shown(value, private)}. {FORMS['dict']}")


def _json(text: str, kind: str, private: bool) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UnusableError(f"is {_shown(text, private)}, which is not valid JSON. {FORMS[kind]}") from error


def _text(value: Any, kind: str, private: bool) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        # YAML has already changed what was written: 013:00 is no longer there to be read.
        what = "a boolean" if isinstance(value, bool) else "a number"
        shown = "" if private else f" ({value!r})"
        raise UnusableError(f"is {what}{shown} because it was written without quotes. {FORMS[kind]}")
    raise UnusableError(f"is {_shown(value, private)}. {FORMS[kind]}")


def _shown(value: Any, private: bool) -> str:
    return f"a value of type {_type(value)} that is not shown" if private else repr(_plain(value))


def _type(value: Any) -> str:
    kinds = {bool: "boolean", int: "number", float: "number", str: "text"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), type(value).__name__)


def _plain(value: Any) -> Any:
    """Without Ansible's own types, whose repr is not what a person wrote."""
    return str(value) if isinstance(value, str) else value


@lru_cache(maxsize=16)
def options_of(role: str) -> dict[str, dict[str, Any]]:
    """The options of a role's main entry point, by the full name of the variable."""
    # Each task is a process of its own, so this runs often; the loader in C takes a sixth of the time.
    text = (ROLES / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    document = yaml.load(text, Loader=yaml.CSafeLoader)
    options: dict[str, dict[str, Any]] = document["argument_specs"]["main"].get("options", {})
    return options


@dataclass(frozen=True)
class _Read:
    """Settings of a role, and what they were read from."""

    variables: dict[str, Any]
    settings: dict[str, Any]
    problems: list[str]


OF_THE_CONNECTION = ("ansible_shell_", "ansible_ssh_")
# By role, the last ones. A task evaluates dozens of expressions that name the same role, with the same variables, which
# Ansible hands over as one mapping or as copies of it.
_read_last: dict[str, _Read] = {}


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two mappings hold the same objects: what a setting refers to is among them.

    Between the conditions and the arguments of a task Ansible adds names of the connection.
    """
    return all(other.get(name, value) is value for name, value in one.items()) and all(
        name.startswith(OF_THE_CONNECTION) for name in one.keys() ^ other.keys()
    )


class LookupModule(LookupBase):  # type: ignore[misc]  # it carries no types
    """The lookup role_settings."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        self._variables = variables or {}
        self._problems: list[str] = []
        settings = [self._settings_once(role) for role in terms]
        if self.get_option("problems"):
            return [self._problems]
        if self._problems:
            raise AnsibleError(" ".join(self._problems))
        return settings

    def _settings_once(self, role: str) -> dict[str, Any]:
        """The settings of a role; a task whose expressions name several of them reads them once."""
        found = _read_last.get(role)
        if found is None or not _same(found.variables, self._variables):
            before = len(self._problems)
            settings = self._settings(role)
            _read_last[role] = _Read(dict(self._variables), settings, self._problems[before:])
            return dict(settings)
        self._problems += found.problems
        return dict(found.settings)

    def _settings(self, role: str) -> dict[str, Any]:
        options = options_of(role)
        settings: dict[str, Any] = {}
        for name, option in options.items():
            short = name.removeprefix(f"{role}_")
            private = _is_private(name, option)
            try:
                if name in self._variables and _is_secret(name, option):
                    self._check_markers(self._variables[name])
                settings[short] = converted(self._value(name, option, private), option, private=private)
            except UnusableError as error:
                self._problems.append(f"{name} {error}")
        name = f"{role}_instances"
        if isinstance(settings.get("instances"), dict):
            raw = self._variables.get(name)
            settings["instances"] = {
                instance: self._overrides(role, str(instance), overrides, raw)
                for instance, overrides in settings["instances"].items()
            }
        return settings

    def _value(self, name: str, option: Mapping[str, Any], private: bool) -> Any:
        if name not in self._variables:
            default = option.get("default")
            return self._templar.template(trust_as_template(default)) if isinstance(default, str) else default
        written = self._variables[name]
        try:
            return self._templar.template(written)
        except AnsibleError as error:
            if isinstance(written, str) and EXPRESSION.fullmatch(written):
                # An expression names where the value comes from, and the error why it could not be had.
                raise UnusableError(f"has no value: {error}. Correct the expression, or what it refers to.") from error
            # The error's own text can hold the value.
            reason = "." if private else f": {error}"
            raise UnusableError(
                f"cannot be read as a template{reason} If its text really holds {{{{, {{% or {{#, write it in a file "
                f"as {name}: !unsafe 'TEXT'."
            ) from error

    def _overrides(self, role: str, instance: str, overrides: Any, raw: Any) -> Any:
        """One instance's own settings. What has the wrong shape or an unknown name is left for the role's own check."""
        if not isinstance(overrides, Mapping):
            return overrides
        options = options_of(role)
        own = raw.get(instance) if isinstance(raw, Mapping) else None
        settings = {}
        for short, value in overrides.items():
            name = f"{role}_{short}"
            settings[short] = value
            if name not in options:
                continue
            option = options[name]
            try:
                if _is_secret(name, option) and isinstance(own, Mapping) and short in own:
                    self._check_markers(own[short])
                settings[short] = converted(value, option, private=_is_private(name, option))
            except UnusableError as error:
                self._problems.append(f"{name} (instance {instance}) {error}")
        return settings

    def _check_markers(self, raw: Any, depth: int = 0) -> None:
        """Refuse a secret, as it was written, that Ansible would read as a template without being meant as one.

        Meant is what is one expression as a whole, such as C({{ vault_password }}), and in an address also the name of
        a variable between other text; the variable that it names is checked in the same way.
        """
        if isinstance(raw, list | tuple):
            for entry in raw:
                self._check_markers(entry, depth)
            return
        if not isinstance(raw, str) or not is_trusted_as_template(raw) or not MARKER.search(raw):
            return
        if reference := REFERENCE.fullmatch(raw):
            if reference[1] in self._variables and depth < 10:
                self._check_markers(self._variables[reference[1]], depth + 1)
            if reference[1] in self._variables:
                return
        elif EXPRESSION.fullmatch(raw) or ("://" in raw and not MARKER.search(self._without_references(raw))):
            return
        raise UnusableError(
            "holds a template marker ({{, {% or {#), so Ansible would deploy another text than the one written. "
            "Write it in the vault as NAME: !unsafe 'TEXT', a single quote in it doubled (make vault does this)."
        )

    def _without_references(self, text: str) -> str:
        def without_known(found: re.Match[str]) -> str:
            return "" if found[1] in self._variables else found[0]

        return re.sub(REFERENCE.pattern, without_known, text)


def _is_secret(name: str, option: Mapping[str, Any]) -> bool:
    return bool(option.get("no_log")) or "userid" in name


def _is_private(name: str, option: Mapping[str, Any]) -> bool:
    return bool(option.get("no_log")) or bool(PRIVATE.search(name))
