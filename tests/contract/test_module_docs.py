"""The modules' documentation matches what they take, what they return, and what `ansible-doc` shows."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.engine import docker, environment
from tests.module_process import answer_of
from tests.plugins import load
from tests.unit.ib_connection.servers import free_port, simulated_api
from tests.unit.library import manager_service
from tests.unit.position_manager.status_samples import READY

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "library").glob("*.py"))
LOADED = {name: load(f"library/{name}.py") for name in MODULES}
OF_EVERY_TASK = {"changed", "failed", "msg", "invocation", "exception", "warnings"}
"""What Ansible itself documents for each module."""
OF_EVERY_TASK_ITSELF = {"name", "vars", "register", "failed_when"}


@functools.cache
def shown_by_ansible() -> dict[str, dict[str, Any]]:
    """What `ansible-doc` reads of each module, documentation fragments included."""
    shown = subprocess.run(
        [Path(sys.executable).with_name("ansible-doc"), "--json", "--type", "module", *MODULES],
        env=environment() | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, dict[str, Any]] = json.loads(shown.stdout)
    return found


@functools.cache
def constants(name: str) -> dict[str, Any]:
    """The module's documentation as Ansible reads it, and its argument spec if it has one."""
    shown = shown_by_ansible()[name]
    found = {"DOCUMENTATION": shown["doc"], "EXAMPLES": yaml.safe_load(shown["examples"]), "RETURN": shown["return"]}
    arguments = getattr(LOADED[name], "ARGUMENTS", None)
    return found if arguments is None else found | {"ARGUMENTS": arguments}


WITH_SPEC = [name for name in MODULES if hasattr(LOADED[name], "ARGUMENTS")]


def call(name: str, /, variables: Mapping[str, str] | None = None, **arguments: Any) -> dict[str, Any]:
    """Run the module as Ansible does: arguments on stdin, its one answer on stdout; with more variables, if given."""
    return answer_of(name, arguments, environment() | {"PYTHONPATH": str(ROOT / "src")} | dict(variables or {}))


def missing() -> str:
    return f"docs-contract-{uuid.uuid4().hex[:12]}"


def test_the_modules_that_take_arguments_are_known() -> None:
    assert {"container_health", "gateway_login", "ib_handshake", "manager_wait"} <= set(WITH_SPEC)


@pytest.mark.parametrize("name", WITH_SPEC)
def test_the_documented_options_are_the_argument_spec(name: str) -> None:
    module = constants(name)
    assert as_spec(module["DOCUMENTATION"]["options"]) == module["ARGUMENTS"]


def as_spec(options: Mapping[str, Any]) -> dict[str, Any]:
    """The argument spec that the documentation of options describes; suboptions are its `options`."""
    assert all(entry["description"] for entry in options.values())
    names = {"suboptions": "options"}
    return {
        option: {
            names.get(key, key): as_spec(value) if key == "suboptions" else value
            for key, value in entry.items()
            if key != "description"
        }
        for option, entry in options.items()
    }


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_use_documented_options(name: str) -> None:
    module = constants(name)
    options = module["DOCUMENTATION"]["options"]
    tasks = module["EXAMPLES"]
    assert tasks
    for task in tasks:
        assert set(task) - OF_EVERY_TASK_ITSELF == {name}
        given = task[name]
        assert set(given) <= set(options)
        assert {option for option, entry in options.items() if entry.get("required")} <= set(given)
        for option, value in given.items():
            assert value in options[option].get("choices", [value])


@pytest.mark.parametrize("name", MODULES)
def test_what_the_text_refers_to_exists(name: str) -> None:
    module = constants(name)
    text = json.dumps([module["DOCUMENTATION"], module["RETURN"]])
    assert set(re.findall(r"\bO\((\w+)", text)) <= set(module["DOCUMENTATION"]["options"])
    assert set(re.findall(r"\bRV\((\w+)\)", text)) <= set(module["RETURN"])
    for other, key in re.findall(r"\bRV\((\w+)#module:(\w+)\)", text):
        assert key in constants(other)["RETURN"]
    for entry in module["DOCUMENTATION"].get("seealso", ()):
        assert entry["module"] in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_ansible_doc_shows_it(name: str) -> None:
    shown = subprocess.run(
        [Path(sys.executable).with_name("ansible-doc"), "--type", "module", name],
        env=environment() | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PAGER": "cat", "ANSIBLE_NOCOLOR": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    # It ends well for a module that it cannot find, too.
    assert shown.stderr == ""
    module = constants(name)
    for word in (name, *module["DOCUMENTATION"]["options"], *module["RETURN"]):
        assert re.search(rf"\b{word}\b", shown.stdout), word


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ib_handshake", {"port": free_port(), "trading_mode": "paper", "retries": 1}),
        ("container_health", {"name": missing()}),
        ("gateway_login", {"name": missing()}),
        (
            "gateway_verified",
            {
                "name": missing(),
                "apis": [{"mode": "paper", "host": "127.0.0.1", "port": free_port(), "native_port": 4002}],
                "retries": 1,
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_check_mode_is_supported_as_stated(name: str, arguments: dict[str, Any]) -> None:
    assert constants(name)["DOCUMENTATION"]["attributes"]["check_mode"]["support"] == "full"
    answer = call(name, **arguments, _ansible_check_mode=True)
    # Ansible skips a module in check mode that does not declare its support.
    assert "skipped" not in answer
    assert answer["changed"] is False
    assert answer["done"] is True


def test_ansible_ships_the_shared_code_with_a_module() -> None:
    """With the project's own settings, as a playbook runs it."""
    ran = subprocess.run(
        [
            *(Path(sys.executable).with_name("ansible"), "localhost", "--connection", "local"),
            *("--extra-vars", f"ansible_python_interpreter={sys.executable}"),
            *("--module-name", "manager_wait", "--args", "unit=a.service socket=/a.sock cursor=[]"),
        ],
        env=environment() | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PYTHONPATH": str(ROOT / "src")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "cursor requires until=change" in ran.stdout, ran.stdout + ran.stderr


SHARED = {
    "waiting": ("waiting_module", "ARGUMENTS"),
    "waiting.container": ("waiting_module", "CONTAINER_ARGUMENTS"),
    "waiting.login": ("login_phase", "ARGUMENTS"),
    "waiting.health": ("port_phase", "ARGUMENTS"),
    "waiting.handshake": ("handshake_phase", "ARGUMENTS"),
}
"""The fragments of documentation of the waiting modules, and where their arguments are."""


@pytest.mark.parametrize(
    ("name", "fragments"),
    [
        ("container_health", ["waiting", "waiting.container", "waiting.health"]),
        ("gateway_login", ["waiting", "waiting.container", "waiting.login"]),
        ("gateway_verified", list(SHARED)),
        ("ib_handshake", ["waiting", "waiting.handshake"]),
        ("manager_wait", ["waiting"]),
    ],
)
def test_the_waiting_modules_share_their_arguments_and_documentation(name: str, fragments: list[str]) -> None:
    """Neither may be written again in the module itself, where the two could come to differ; a module may only describe
    an option of its fragments in other words."""
    own = yaml.safe_load(LOADED[name].DOCUMENTATION)
    assert own["extends_documentation_fragment"] == fragments
    for fragment in fragments:
        place, constant = SHARED[fragment]
        shared = getattr(load(f"module_utils/{place}.py"), constant)
        assert shared
        assert {option: LOADED[name].ARGUMENTS[option] for option in shared} == shared
        assert all(set(own["options"][option]) == {"description"} for option in set(shared) & set(own["options"]))


@pytest.mark.parametrize("name", MODULES)
def test_check_mode_is_stated(name: str) -> None:
    stated = constants(name)["DOCUMENTATION"]["attributes"]["check_mode"]
    assert stated["support"] in ("full", "partial", "none")
    assert stated["description"]


@pytest.fixture
def container() -> Iterator[str]:
    """A simulated live gateway that waits for the second factor, with a health check that succeeds."""
    image = json.loads((ROOT / ".sandbox/images.json").read_text())["simulator"]
    variables = {
        "TRADING_MODE": "live",
        "TWS_USERID": "user",
        "TWS_PASSWORD": "word",
        "GATEWAY_SIMULATOR_START_SECONDS": "1",
        "GATEWAY_SIMULATOR_TWOFA": "never",
    }
    settings = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    health = ("--health-cmd", "true", "--health-interval", "1s")
    created = docker("run", "--detach", "--name", missing(), *settings, *health, image)
    assert created.returncode == 0, created.stderr
    yield created.stdout.strip()
    docker("rm", "--force", created.stdout.strip())


def assert_as_documented(name: str, answers: list[dict[str, Any]]) -> None:
    """Together the answers hold every documented key, each of them none else and all that come always."""
    documented = constants(name)["RETURN"]
    for answer in answers:
        always = {key for key, entry in documented.items() if entry["returned"].startswith("always")}
        assert always <= set(answer)
        assert set(answer) - OF_EVERY_TASK <= set(documented)
    assert {key for answer in answers for key in answer} - OF_EVERY_TASK == set(documented)
    kinds: dict[str, type | tuple[type, ...]] = {
        "str": str,
        "bool": bool,
        "int": int,
        "float": (int, float),
        "list": list,
        "dict": dict,
    }
    for key, entry in documented.items():
        values = [answer[key] for answer in answers if key in answer]
        for value in values:
            assert isinstance(value, kinds[entry["type"]]), (key, value)
        if "contains" in entry:
            items = [item for value in values for item in value]
            assert items, f"no run returned an entry of {key}"
            assert all(set(item) == set(entry["contains"]) for item in items), key


def test_a_handshake_returns_what_is_documented() -> None:
    async def answered() -> dict[str, Any]:
        async with simulated_api() as server:
            return await asyncio.to_thread(call, "ib_handshake", port=server.port, trading_mode="paper")

    verified = asyncio.run(answered())
    assert verified["verified"] is True
    refused: dict[str, Any] = {"port": free_port(), "trading_mode": "paper"}
    final = call("ib_handshake", **refused, retries=1)
    assert (final["failed"], final["cause"]) == (True, "refused")
    first = call("ib_handshake", **refused, retries=2, until="change")
    assert first["done"] is False
    assert_as_documented("ib_handshake", [verified, final, first])


def test_a_health_wait_returns_what_is_documented(container: str) -> None:
    absent = call("container_health", name=missing())
    assert absent["failure"] == "no_such_container"
    waiting = call("container_health", name=missing(), appear_timeout=20, until="change")
    assert waiting["done"] is False
    healthy = call("container_health", name=container, timeout=30)
    assert healthy["status"] == "healthy"
    assert docker("stop", "-t", "20", container).returncode == 0
    ended = call("container_health", name=container)
    assert (ended["failure"], ended["exit_code"]) == ("exited", 143)
    assert_as_documented("container_health", [absent, waiting, healthy, ended])


def until_the_second_factor(container: str) -> list[dict[str, Any]]:
    """Follow the login until the gateway asks for the second factor; each answer of the module."""
    answers = [call("gateway_login", name=container, until="change")]
    while answers[-1]["state"] != "awaiting_2fa":
        assert len(answers) < 30, [answer["state"] for answer in answers]
        answers.append(call("gateway_login", name=container, until="change", cursor=answers[-1]["cursor"]))
    return answers


def test_a_login_wait_returns_what_is_documented(container: str) -> None:
    absent = call("gateway_login", name=missing())
    assert (absent["failed"], absent["state"]) == (True, "absent")
    answers = [absent, *until_the_second_factor(container)]
    assert 170 <= answers[-1]["twofa_seconds_left"] <= 180
    assert_as_documented("gateway_login", answers)


def test_a_verification_returns_what_is_documented(container: str) -> None:
    """Of a gateway that waits for the second factor, and of one that is verified."""
    port = free_port()
    apis = [{"mode": "live", "host": "127.0.0.1", "port": port, "native_port": 4001}]
    waiting = call("gateway_verified", name=container, apis=apis, until="change")
    assert (waiting["done"], waiting["phase"]) == (False, "login")
    until_the_second_factor(container)
    assert docker("exec", container, "gateway-simulatorctl", "approve-2fa").returncode == 0
    refused = call("gateway_verified", name=container, apis=apis, retries=1)
    assert (refused["phase"], refused["cause"]) == ("handshake", "refused")
    inside = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
    apis[0] |= {"host": inside.stdout.strip(), "port": 4003}
    verified = call("gateway_verified", name=container, apis=apis, orders_needed=False)
    assert verified["verified"] is True, verified
    assert_as_documented("gateway_verified", [waiting, refused, verified])


def test_a_wait_for_the_manager_returns_what_is_documented(tmp_path: Path) -> None:
    assert constants("manager_wait")["DOCUMENTATION"]["attributes"]["check_mode"]["support"] == "full"
    looked = manager_service.call(tmp_path, manager_service.ENDED, _ansible_check_mode=True)
    assert "skipped" not in looked
    ready = manager_service.call_with(tmp_path, [READY])
    assert ready["phase"] == "READY"
    waiting = manager_service.call_with(tmp_path, [READY], goal="idle", until="change")
    assert waiting["done"] is False
    ended = manager_service.call(tmp_path, manager_service.ENDED)
    assert ended["failed"]
    unknown = manager_service.call(tmp_path, {"LoadState": "not-found"})
    assert unknown["failure"] == "unit_unknown"
    assert_as_documented("manager_wait", [looked, ready, waiting, ended, unknown])


def test_an_upgrade_returns_what_is_documented(tmp_path: Path) -> None:
    for release in ("aaa", "bbb"):
        programs = tmp_path / "releases" / release / "bin"
        programs.mkdir(parents=True)
        (programs.parent / ".complete").touch()
        for program in ("python", "gateway-watch", "position-manager"):
            (programs / program).write_text("#!/bin/sh\nexit 1\n")
            (programs / program).chmod(0o755)
    link = tmp_path / "current"
    link.symlink_to("releases/aaa")
    gateway = {"name": missing(), "image": "i:1", "image_archive": "/no.tar", "trading_mode": "paper", "apis": []}
    state = tmp_path / "state"
    common: dict[str, Any] = {
        "release_dir": str(tmp_path),
        "state_dir": str(state),
        "gateways": [gateway],
        "release": "bbb",
    }

    def step(operation: str, **more: Any) -> dict[str, Any]:
        return call("upgrade_step", operation=operation, **common, **more)

    planned = step("plan", _ansible_check_mode=True)
    assert (planned["step"], planned["fetch"]) == ("switch", ["i:1"])
    assert any("is not deployed on this host" in problem for problem in planned["problems"])
    assert step("start", _ansible_check_mode=True)["changed"] is True
    assert not state.exists()
    started = step("start")
    link.unlink()
    link.symlink_to("releases/bbb")
    restored = step("restore", reason="No Java.")
    assert link.readlink() == Path("releases/aaa")
    ended = step("finish")
    assert ended["record"]["outcome"] == "rolled_back"
    assert step("finish")["changed"] is False
    assert_as_documented("upgrade_step", [planned, started, restored, ended])


def test_a_convergence_returns_what_is_documented(tmp_path: Path) -> None:
    assert constants("host_resources")["DOCUMENTATION"]["attributes"]["check_mode"]["support"] == "full"
    directory = {"path": str(tmp_path / "a"), "mode": "0700"}
    predicted = call("host_resources", directories=[directory], _ansible_check_mode=True)
    assert "skipped" not in predicted
    assert not (tmp_path / "a").exists()
    created = call("host_resources", directories=[directory], _ansible_diff=True)
    assert (created["changed"], (tmp_path / "a").exists()) == (True, True)
    rejected = call("host_resources", directories=[{**directory, "mode": "7"}])
    # A diff is a key that Ansible itself knows.
    answers = [
        {key: value for key, value in answer.items() if key != "diff"} for answer in (predicted, created, rejected)
    ]
    assert_as_documented("host_resources", answers)


def test_commands_return_what_is_documented() -> None:
    assert constants("host_commands")["DOCUMENTATION"]["attributes"]["check_mode"]["support"] == "full"
    answer = call("host_commands", commands=[{"name": "a", "argv": ["echo", "text"]}], _ansible_check_mode=True)
    assert "skipped" not in answer
    assert answer["results"][0]["stdout"] == "text"
    assert_as_documented("host_commands", [answer])


def test_the_upgrade_module_brings_its_code_along(tmp_path: Path) -> None:
    """The host has only its own Python: no release, and none of this project's packages."""
    arguments = {"operation": "plan", "command": "rollback", "gateways": [], "state_dir": str(tmp_path)}
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("ansible"), "localhost", "-c", "local", "-i", "localhost,"),
            *("-m", "upgrade_step", "-a", json.dumps(arguments)),
            *("-e", "ansible_python_interpreter=/usr/bin/python3"),
        ],
        env=environment() | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "No upgrade is recorded on this host" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["container_health", "gateway_login"])
def test_an_engine_that_does_not_answer_returns_what_comes_always(name: str, tmp_path: Path) -> None:
    answer = call(name, name=missing(), variables={"DOCKER_HOST": f"unix://{tmp_path}/no.sock"})
    documented = constants(name)["RETURN"]
    assert answer["failed"]
    assert "[engine_away]" in answer["msg"]
    on_failure = {key for key, entry in documented.items() if entry["returned"].startswith(("always", "on failure"))}
    assert set(answer) - OF_EVERY_TASK == on_failure
