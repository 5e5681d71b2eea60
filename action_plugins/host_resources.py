"""Reads the contents for the module host_resources on the controller, and shows what it changed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader
from ansible.template import trust_as_template
from ansible.utils.display import Display

sys.path.append(str(Path(__file__).resolve().parents[1]))

from module_utils.host_resources import model

Base: Any = action_loader.get("operator_progress", class_only=True)
SOURCES = ("content", "template", "source")


class ActionModule(ActionBase):
    """Action of the module host_resources.

    Contents travel in one argument that Ansible never shows: as values of their own, each text of the result that
    happens to contain a short secret would be censored, the paths that handlers depend on included.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        files = [self._entry(entry) for entry in arguments.get("files") or []]
        if files:
            arguments["contents"] = model.encode(self._content(entry, variables) for entry in files)
            arguments["files"] = [
                {key: value for key, value in entry.items() if key not in (*SOURCES, "vars")} for entry in files
            ]
        result |= self._execute_module(module_args=arguments, task_vars=variables)
        self._show(result, variables)
        return result

    def _entry(self, entry: Any) -> Mapping[str, Any]:
        if not isinstance(entry, Mapping) or sum(key in entry for key in SOURCES) != 1:
            raise AnsibleActionFail(
                f"Each entry of files needs a path and exactly one of {', '.join(SOURCES)}; "
                f"{entry.get('path', 'an entry') if isinstance(entry, Mapping) else 'an entry'} does not have that."
            )
        return entry

    def _content(self, entry: Mapping[str, Any], variables: dict[str, Any]) -> bytes:
        if "content" in entry:
            return str(entry["content"]).encode("utf-8", "surrogateescape")
        if "source" in entry:
            return Path(self._find_needle("files", entry["source"])).read_bytes()
        return self._rendered(entry, variables).encode("utf-8", "surrogateescape")

    def _rendered(self, entry: Mapping[str, Any], variables: dict[str, Any]) -> str:
        """As the module template does. The lookup template would copy all variables deeply, for each file."""
        source = self._find_needle("templates", entry["template"])
        text = trust_as_template(self._loader.get_text_file_contents(source))
        managed = {"ansible_managed": constants.config.get_config_value("DEFAULT_MANAGED_STR")}
        templar = self._templar.copy_with_new_env(
            searchpath=[str(Path(source).parent)],
            available_variables={**managed, **variables, **(entry.get("vars") or {})},
        )
        return str(templar.template(text, escape_backslashes=False, overrides={"trim_blocks": True}))

    def _show(self, result: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
        if self._task.no_log or not Base.output_is_for_people():
            return
        would = "would " if self._task.check_mode else ""
        for change in result.get("changes") or []:
            Display().display(Base.as_line(variables.get("inventory_hostname", "localhost"), f"{would}{change}"))
