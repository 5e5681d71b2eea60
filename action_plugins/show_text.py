"""Show a text to the operator as it is: a screen, a log, an announcement."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader
from ansible.utils.display import Display

Base: Any = action_loader.get("operator_progress", class_only=True)


class ActionModule(ActionBase):
    """Action of the module show_text: runs on the controller and touches no host."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec({"text": {"type": "str", "required": True}})
        if Base.output_is_for_people():
            Display().display(arguments["text"])
        else:
            result["text"] = arguments["text"]
        result["changed"] = False
        return result
