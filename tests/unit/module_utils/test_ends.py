"""How the tasks of modules end that share code: warnings, errors, and a package that is missing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plugins import load

waiting_module = load("module_utils/waiting_module.py")
aws_module = load("module_utils/aws_module.py")


class EndedError(Exception):
    """The module has ended its task."""


class Module:
    """What the shared code uses of an AnsibleModule."""

    check_mode = False

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.result: dict[str, Any] = {}

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def exit_json(self, **result: Any) -> None:
        self.result = result
        raise EndedError

    def fail_json(self, **result: Any) -> None:
        self.result = {"failed": True, **result}
        raise EndedError


@pytest.mark.parametrize("error", [None, "not ready"])
def test_warnings_are_shown_whether_the_wait_fails_or_not(error: str | None) -> None:
    async def wait(_params: dict[str, Any], _check_mode: bool) -> Any:
        return waiting_module.Outcome({"done": True}, error, ("an old image",))

    module = Module()
    with pytest.raises(EndedError):
        waiting_module.run_module(module, wait, package="gateway_watch", role="ib_gateway", import_error=None)
    assert module.warnings == ["an old image"]
    assert module.result == ({"done": True} if error is None else {"failed": True, "msg": error, "done": True})


def test_without_boto3_the_task_fails_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module()
    aws_module.require_boto3(module)
    assert not module.result
    monkeypatch.setattr(aws_module, "IMPORT_ERROR", "No module named 'boto3'")
    with pytest.raises(EndedError):
        aws_module.require_boto3(module)
    assert "make setup" in module.result["msg"]
