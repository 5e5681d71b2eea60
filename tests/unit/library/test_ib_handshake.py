"""The module as Ansible runs it: a process of its own, and a real playbook, against the simulator's API."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pexpect
import pytest
import yaml
from tests.module_process import command
from tests.plugins import load
from tests.unit.ib_connection.servers import free_port, simulated_api

from gateway_simulator.api.behaviour import ApiBehaviour, ConnectMode

ROOT = Path(__file__).parents[3]
# Loaded here, since eventkit can only be imported as long as no event loop has ended in the process.
LOADED = load("library/ib_handshake.py")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")} | {
    "PYTHONPATH": str(ROOT / "src")
}


async def call(arguments: dict[str, Any], environment: dict[str, str] = ENVIRONMENT) -> dict[str, Any]:
    """Run the module once. Its stdout must be its result and nothing else, its stderr empty."""
    process = await asyncio.create_subprocess_exec(
        *command("ib_handshake"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, err = await process.communicate(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
    assert err == b"", err.decode()
    result: dict[str, Any] = json.loads(out)
    assert process.returncode == (1 if result.get("failed") else 0)
    return result


def against(behaviour: ApiBehaviour | None = None, *, holds: str = "paper", **arguments: Any) -> dict[str, Any]:
    async def run() -> dict[str, Any]:
        async with simulated_api(behaviour, mode=holds) as server:
            return await call({"port": server.port, "trading_mode": "paper"} | arguments)

    return asyncio.run(run())


def test_verified() -> None:
    result = against(client_id=42)
    assert result["verified"] is True
    assert result["done"] is True
    assert result["changed"] is False
    assert result["cause"] == result["remedy"] == ""
    assert result["server_version"] == 178
    assert result["accounts"] == ["DU1234567"]
    assert result["next_order_id"] == 1
    assert result["client_id"] == 42
    assert result["read_only"] is False
    assert abs(result["clock_difference"]) <= 1
    assert len(result["attempts"]) == 1
    assert result["progress"][-1] == "verified in attempt 1/5: DU*****67, next order id 1"
    assert "cursor" not in result


def test_check_mode_does_the_same() -> None:
    result = against(_ansible_check_mode=True)
    assert result["verified"] is True
    assert result["changed"] is False


def test_failure_names_cause_attempts_and_remedy() -> None:
    port = free_port()
    result = asyncio.run(call({"port": port, "trading_mode": "paper", "retries": 3, "delay": 0.1}))
    assert result["failed"] is True
    assert result["cause"] == "refused"
    assert [attempt["cause"] for attempt in result["attempts"]] == ["refused"] * 3
    assert f"127.0.0.1:{port}" in result["msg"]
    assert "[refused]" in result["msg"]
    assert "3 attempts" in result["msg"]
    assert result["remedy"] in result["msg"]
    assert result["progress"][0].startswith("attempt 1/3 failed because nothing listens on the port")


@pytest.mark.parametrize(
    ("behaviour", "arguments", "cause"),
    [
        (ApiBehaviour(connect=ConnectMode.SILENT), {}, "silent_before_version"),
        (ApiBehaviour(connect=ConnectMode.SILENT), {"container_healthy": True}, "native_port_published"),
        (
            ApiBehaviour(connect=ConnectMode.SILENT),
            {"container_healthy": True, "container_port": 4004},
            "silent_before_version",
        ),
        (ApiBehaviour(connect=ConnectMode.ACCEPT_AND_CLOSE), {}, "closed_by_peer"),
        (ApiBehaviour(connect=ConnectMode.SILENT_AFTER_VERSION), {}, "silent_after_version"),
        (ApiBehaviour(managed_accounts=False), {}, "no_managed_accounts"),
        (ApiBehaviour(omit_executions_end=True), {}, "sync_incomplete"),
        (ApiBehaviour(client_ids_in_use={9000}), {}, "client_id_in_use"),
        (ApiBehaviour(read_only=True), {}, "read_only"),
        (ApiBehaviour(), {"trading_mode": "live"}, "wrong_account_kind"),
        (ApiBehaviour(), {"expected_accounts": ["DU7654321"]}, "unexpected_account"),
    ],
)
def test_each_cause(behaviour: ApiBehaviour, arguments: dict[str, Any], cause: str) -> None:
    result = against(behaviour, retries=1, timeout=2, **arguments)
    assert result["failed"] is True
    assert result["cause"] == cause
    assert f"[{cause}]" in result["msg"]
    assert "DU1234567" not in result["msg"]


def test_wrong_account_is_not_tried_again() -> None:
    result = against(holds="live", delay=30)
    assert result["cause"] == "wrong_account_kind"
    assert len(result["attempts"]) == 1


def test_read_only_is_enough_without_orders() -> None:
    assert against(ApiBehaviour(read_only=True), orders_needed=False)["verified"] is True


def test_silent_first_connection_is_retried_and_reported() -> None:
    result = against(ApiBehaviour(connect=ConnectMode.SILENT_ONCE), delay=30)
    assert [attempt["cause"] for attempt in result["attempts"]] == ["silent_before_version", ""]
    assert result["verified"] is True
    assert result["elapsed"] < 10


def test_busy_client_id() -> None:
    result = against(ApiBehaviour(client_ids_in_use={9000}), delay=30)
    assert result["client_id"] == 9001
    assert result["verified"] is True


def test_call_by_call() -> None:
    """until=change returns after each attempt; the cursor keeps the count, the delay and the attempts."""

    async def run() -> list[dict[str, Any]]:
        behaviour = ApiBehaviour(managed_accounts=False)
        async with simulated_api(behaviour) as server:
            arguments = {"port": server.port, "trading_mode": "paper", "until": "change", "delay": 2, "timeout": 0.5}
            results = [await call(arguments)]
            assert "failed" not in results[0]
            behaviour.managed_accounts = True
            results.append(await call(arguments | {"cursor": results[0]["cursor"]}))
            return results

    one, two = asyncio.run(run())
    assert (one["done"], one["verified"], one["cause"]) == (False, False, "no_managed_accounts")
    assert (two["done"], two["verified"], two["cause"]) == (True, True, "")
    assert [attempt["number"] for attempt in two["attempts"]] == [1, 2]
    assert two["progress"][-1].startswith("verified in attempt 2/5")
    assert two["elapsed"] >= 2.5, "the second call did not keep the delay"


def test_last_attempt_fails_call_by_call_too() -> None:
    async def run() -> dict[str, Any]:
        arguments = {"port": free_port(), "trading_mode": "paper", "until": "change", "delay": 0, "retries": 2}
        one = await call(arguments)
        return await call(arguments | {"cursor": one["cursor"]})

    result = asyncio.run(run())
    assert result["failed"] is True
    assert result["done"] is True
    assert "2 attempts" in result["msg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"port": 0}, "port is 0"),
        ({"client_id": 0}, "client_id is 0"),
        ({"retries": 0}, "retries is 0"),
        ({"delay": -1}, "delay is -1"),
        ({"timeout": 0}, "timeout is 0"),
        ({"trading_mode": "both"}, "trading_mode must be one of: paper, live"),
        ({"until": "change", "cursor": "{}"}, "cursor is not one that this module returned"),
        ({"until": "change", "cursor": "nonsense"}, "cursor is not one that this module returned"),
        ({"cursor": "{}"}, "cursor requires until=change"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    result = asyncio.run(call({"port": 4002, "trading_mode": "paper"} | arguments))
    assert result["failed"] is True
    assert message in result["msg"]


def test_interpreter_without_the_package_is_named() -> None:
    plain = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
    result = asyncio.run(call({"port": 4002, "trading_mode": "paper"}, plain))
    assert result["failed"] is True
    assert sys.executable in result["msg"]
    assert "/opt/ib-gateway-ansible/current/bin/python" in result["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_every_value_returned_is_documented(check: bool) -> None:
    returned = set(yaml.safe_load(LOADED.RETURN))
    result = against() if check else against(ApiBehaviour(connect=ConnectMode.SILENT), retries=1)
    assert set(result) - {"changed", "failed", "msg", "invocation"} <= returned


def test_operator_sees_each_attempt_as_it_ends(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text(
        f"[defaults]\ninventory = hosts\nlibrary = {ROOT}/library\nmodule_utils = {ROOT}/module_utils\n"
        f"action_plugins = {ROOT}/action_plugins\n"
    )
    (tmp_path / "hosts").write_text(
        f"gateway-host ansible_connection=local ansible_python_interpreter={sys.executable}\n"
    )

    def play(port: int) -> list[tuple[float, str]]:
        (tmp_path / "play.yml").write_text(
            "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: Verify the API\n"
            f"      ib_handshake: {{port: {port}, trading_mode: paper}}\n"
        )
        child = pexpect.spawn(
            str(Path(sys.executable).with_name("ansible-playbook")),
            ["play.yml"],
            cwd=str(tmp_path),
            env=ENVIRONMENT | {"ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            encoding="utf-8",
            timeout=60,
            dimensions=(50, 250),
        )
        lines = []
        while line := child.readline():
            lines.append((time.monotonic(), line.strip()))
        child.close()
        assert child.exitstatus == 0, lines
        return lines

    async def run() -> list[tuple[float, str]]:
        async with simulated_api(ApiBehaviour(connect=ConnectMode.SILENT_ONCE)) as server:
            return await asyncio.to_thread(play, server.port)

    lines = [(at, line) for at, line in asyncio.run(run()) if line.startswith("gateway-host: ")]
    said = [line.removeprefix("gateway-host: ") for _, line in lines]
    assert said[0].startswith("attempt 1/5 failed because the port is open but nothing answered")
    assert said[1:] == [
        "answering with server version 178",
        "verified in attempt 2/5: DU*****67, next order id 1",
    ]
    assert lines[1][0] - lines[0][0] > 0.5, "the lines came together"
