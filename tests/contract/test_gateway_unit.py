"""The rendered unit of the gateway: accepted by a real systemd, hardened, and free of secrets and open ports."""

from __future__ import annotations

import asyncio
import fcntl
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jinja2
import pytest
import yaml
from ansible.plugins.test.core import version_compare
from jinja2.nativetypes import NativeEnvironment
from tests.engine import docker, sandbox_image
from tests.plugins import load

from gateway_watch import backoff, container_stop, soft_restart, soft_restart_run
from gateway_watch.instance import Instance

ROLE = Path(__file__).parents[2] / "roles" / "ib_gateway"
SECRETS = {
    "userid": "the-user-name",
    "password": "the-password",
    "vnc_password": "vncpass1",
    "notify_urls": ["discord://1/t0ken"],
    "totp_secret": "gezdgnbvgy3tqojq",
}


def role_filters() -> Any:
    return load("roles/ib_gateway/filter_plugins/ib_gateway_instances.py")


def render(engine_version: str = "20.10.24", **settings: Any) -> str:
    filters = role_filters()
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    shared = {name.removeprefix("ib_gateway_"): value for name, value in defaults.items()} | SECRETS | settings
    (instance,) = filters.resolve({"ib-gateway": {}}, shared, secrets=True)
    environment = jinja2.Environment(  # noqa: S701 - a unit file, no HTML
        loader=jinja2.FileSystemLoader(ROLE / "templates"), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters.update(filters.FilterModule().filters())
    environment.tests["version"] = version_compare
    return environment.get_template("ib-gateway.service.j2").render(
        item={"instance": instance},
        ansible_managed="Ansible managed",
        __ib_gateway_engine_version=engine_version,
        __ib_gateway_release="/opt/ib-gateway-ansible/current",
    )


VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "live": {"trading_mode": "live"},
    "both": {"trading_mode": "both", "userid_paper": "second-user", "password_paper": "second-password"},
    "ibcontroller": {"login_controller": "ibcontroller", "read_only_root": False},
    "writable": {"read_only_root": False, "extra_ports": ["127.0.0.1:9100:9100"]},
}


def analyze(unit: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze of the sandbox host's systemd on the unit, in a container that is gone afterwards."""
    script = (
        "mkdir -p /opt/ib-gateway-ansible/current/bin && cd /etc/systemd/system && cat > ib-gateway.service "
        "&& printf '#!/bin/sh\\n' | tee /opt/ib-gateway-ansible/current/bin/gateway-watch > /usr/bin/docker "
        "&& chmod +x /opt/ib-gateway-ansible/current/bin/gateway-watch /usr/bin/docker "
        "&& printf '[Service]\\nExecStart=/bin/true\\n' > docker.service "
        f"&& systemd-analyze {shlex.join(arguments)}"
    )
    return docker("run", "--rm", "--interactive", "--entrypoint", "sh", sandbox_image(), "-c", script, stdin=unit)


@pytest.mark.parametrize("variant", VARIANTS)
def test_systemd_accepts_the_unit_without_a_word(variant: str) -> None:
    result = analyze(render(**VARIANTS[variant]), "verify", "--man=no", "./ib-gateway.service")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_broken_unit_is_seen_by_the_same_check() -> None:
    broken = render().replace("Restart=always", "Restart=sometimes")
    assert "sometimes" in analyze(broken, "verify", "--man=no", "./ib-gateway.service").stderr


def test_the_exposure_is_at_most_two() -> None:
    result = analyze(
        render(notify_urls=[]), "security", "--offline=true", "--threshold=20", "--no-pager", "./ib-gateway.service"
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_unit_holds_no_secret_and_publishes_on_loopback_only(variant: str) -> None:
    unit = render(**VARIANTS[variant])
    for secret in ("the-user-name", "the-password", "vncpass1", "t0ken", "second-user", "second-password"):
        assert secret not in unit
    published = re.findall(r"--publish (\S+)", unit)
    assert published
    assert all(mapping.startswith("127.0.0.1:") for mapping in published)
    assert not any(mapping.endswith((":4001", ":4002")) for mapping in published)


def test_the_unit_stops_by_the_watch_within_its_time() -> None:
    unit = render()
    assert "ExecStop=/opt/ib-gateway-ansible/current/bin/gateway-watch stop --instance ib-gateway\n" in unit
    found = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert found is not None
    longest = container_stop.CONTROLLER_SECONDS + container_stop.SLACK_SECONDS + container_stop.REST_SECONDS
    # The rest is for what the engine itself takes.
    assert longest + 20 <= int(found[1])
    assert "docker stop" not in unit


def test_the_unit_reaches_the_internet_only_to_notify() -> None:
    assert "IPAddressDeny" not in render()
    assert "IPAddressDeny=any\nIPAddressAllow=localhost\n" in render(notify_urls=[])


def test_an_engine_that_ends_or_fails_does_not_end_the_unit() -> None:
    lines = render().splitlines()
    assert not any(line.startswith(("Requires=", "BindsTo=", "PartOf=", "Requisite=")) for line in lines)
    assert "Wants=docker.service network-online.target" in lines
    assert any(line.startswith("After=docker.service ") for line in lines)


def test_nothing_that_may_fail_comes_before_the_back_off() -> None:
    commands = [line for line in render().splitlines() if line.startswith("Exec")]
    assert not [line for line in commands if line.startswith("ExecStartPre=")]
    assert commands[0].endswith("gateway-watch run --instance ib-gateway --create \\")


def test_a_unit_that_cannot_start_is_reported_and_recovered() -> None:
    unit, _, service = render().partition("[Service]")
    for line in ("StartLimitIntervalSec=150", "StartLimitBurst=6", "OnFailure=unit-recovery@%N.service"):
        assert f"{line}\n" in unit
    assert "Restart=always\nRestartSec=5\n" in service


def restart_tasks(role: str) -> list[dict[str, Any]]:
    """The tasks of a restart in their order, without the blocks around them."""
    tasks: list[dict[str, Any]] = yaml.safe_load((ROLE.parent / role / "tasks/restart.yml").read_text())
    return [inner for task in tasks for inner in task.get("block", [task])]


def test_a_restart_reports_its_kind_before_it_acts() -> None:
    names = [task["name"] for task in restart_tasks("ib_gateway")]
    order = (
        "Report whether the restart keeps the session or needs an approval",
        "Report that an older release needs a full login",
        # systemd must start the new container with the new unit as soon as the old one has ended.
        "Reload the units before the session is stored",
        "Restart the gateway and keep its session",
        "Report how the restart ended",
        "Stop and start the instance",
    )
    assert [name for name in names if name in order] == list(order)


@pytest.mark.parametrize(
    ("plan", "older", "restarts"),
    [
        (0, None, True),
        (4, None, True),
        # The program is missing, or the instance is not deployed: nothing is stopped.
        (2, 2, False),
        (2, 78, False),
        (78, None, False),
        # A release without the command still says what its restart costs.
        (2, 0, True),
    ],
)
def test_a_release_without_restarts_that_keep_the_session_is_restarted_with_its_cost(
    plan: int, older: int | None, restarts: bool
) -> None:
    tasks = yaml.safe_load((ROLE / "tasks/restart.yml").read_text())
    (block,) = [task for task in tasks if "block" in task]
    known: dict[str, Any] = {
        "ansible_check_mode": True,
        "__ib_gateway_restart_cost": {"rc": plan},
        "__ib_gateway_older_release": {"skipped": True} if older is None else {"rc": older},
    }
    environment = NativeEnvironment(undefined=jinja2.StrictUndefined)
    known |= {name: environment.from_string(text).render(known) for name, text in block["vars"].items()}
    assert all(environment.compile_expression(text)(**known) for text in block["when"]) is restarts
    (cost,) = [task for task in restart_tasks("ib_gateway") if "restart-cost" in str(task)]
    assert environment.compile_expression(cost["when"])(**known) is (plan == 2)
    known |= {"ansible_check_mode": False}
    if older is not None:
        assert environment.compile_expression(cost["failed_when"])(**known) is (older != 0)


@pytest.mark.parametrize(
    ("task", "result"),
    [
        ("Check whether the restart can keep the session", "__ib_gateway_restart_cost"),
        ("Restart the gateway and keep its session", "__ib_gateway_soft_restart"),
    ],
)
def test_a_restart_waits_for_one_that_a_killed_run_has_left_in_progress(task: str, result: str, tmp_path: Path) -> None:
    """As the next run of upgrade.yml does: rejected, it would roll back, and be rejected in that too."""
    (waits,) = (entry for entry in restart_tasks("ib_gateway") if entry["name"] == task)
    goes_on = jinja2.Environment().compile_expression(waits["until"])  # noqa: S701 - a condition, no HTML
    for error in rejections(tmp_path):
        assert not goes_on(**{result: {"rc": 1, "stderr": error}})
    assert goes_on(**{result: {"rc": 1, "stderr": "docker: no such host"}})
    assert goes_on(**{result: {"rc": 0, "stderr": ""}})
    assert goes_on(**{result: {"rc": 4}})
    # Longer than a restart can be in progress with the default settings.
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    limit = soft_restart.END_SECONDS + 60 + defaults["ib_gateway_start_timeout"]
    retries, delay = (
        int(jinja2.Environment().from_string(str(waits[key])).render(ansible_check_mode=False))  # noqa: S701 - a number
        for key in ("retries", "delay")
    )
    assert retries * delay > limit


def rejections(folder: Path) -> list[str]:
    """The texts with which a second restart is rejected: while a process carries one out, and after it was killed."""
    instance = cast("Instance", SimpleNamespace(name="ib-gateway", state_dir=folder, login_controller="ibc"))
    found = []
    for prepare in (_carry_out, _leave_request):
        with prepare(folder), pytest.raises(soft_restart_run.InProgressError) as rejected:
            asyncio.run(soft_restart_run.SoftRestart(instance).carry_out(soft_restart.Kind.RESTART))
        found.append(str(rejected.value))
    return found


@contextmanager
def _carry_out(folder: Path) -> Iterator[None]:
    with soft_restart.lock_file(folder).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _leave_request(folder: Path) -> Iterator[None]:
    now = datetime.now(UTC)
    request = soft_restart.Request(soft_restart.Kind.RESTART, now, now + timedelta(minutes=5))
    soft_restart.write_request(soft_restart.request_file(folder), request)
    yield


@pytest.mark.parametrize("check", [True, False])
def test_check_mode_takes_a_gateway_that_is_being_restarted_for_no_new_one(check: bool) -> None:
    plan = restart_tasks("ib_gateway")[0]
    environment = NativeEnvironment(undefined=jinja2.StrictUndefined)
    failed = {
        code: environment.compile_expression(plan["failed_when"])(
            __ib_gateway_restart_cost={"rc": code}, ansible_check_mode=check
        )
        for code in (0, 1, 2, 4, 78)
    }
    # 78: the instance is not deployed yet.
    assert failed == {0: False, 1: True, 2: False, 4: False, 78: not check}


def full_restart(
    folder: Path, *, reset_failed: int = 0, reload: str = "no", deploys: bool | None = None
) -> tuple[int, list[str]]:
    """Run what restarts a gateway with a full login; its exit status, and the programs that it has run.

    `deploys` gives it the variables of the deploy's handler, or what a playbook gives it (None: nothing).
    """
    (task,) = [task for task in restart_tasks("ib_gateway") if "approve-now" in str(task.get("vars"))]
    known: dict[str, Any] = {
        "__ib_gateway_release": str(folder),
        "__ib_gateway_instance": {"name": "ib-gateway", "unit": "ib-gateway.service"},
    }
    known |= {} if deploys is None else {"__ib_gateway_deploys": deploys}
    return run_script(folder, task, known, reset_failed, reload)


def manager_restart(folder: Path, *, reset_failed: int = 0, reload: str = "no") -> tuple[int, list[str]]:
    """Run what restarts a position manager, once no order of it is open."""
    (task,) = [task for task in restart_tasks("position_manager") if "ansible.builtin.shell" in task]
    known = {"__position_manager_instance": {"unit": "position-manager.service"}}
    return run_script(folder, task, known, reset_failed, reload)


def run_script(
    folder: Path, task: dict[str, Any], known: dict[str, Any], reset_failed: int, reload: str
) -> tuple[int, list[str]]:
    assert task["when"] == "not ansible_check_mode"
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)  # noqa: S701 - a script, no HTML
    environment.filters["quote"] = shlex.quote
    known |= {name: environment.from_string(text).render(known) for name, text in task.get("vars", {}).items()}
    script = environment.from_string(task["ansible.builtin.shell"]).render(known)
    (folder / "bin").mkdir()
    for name, ends in (
        ("systemctl", f'case "$1" in reset-failed) exit {reset_failed};; show) echo {reload};; esac'),
        ("gateway-watch", ""),
    ):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\necho "$(basename "$0") $*" >> {folder}/ran\n{ends}\n')
        program.chmod(0o755)
    path = f"{folder}/bin:/usr/bin:/bin"
    code = subprocess.run(["/bin/sh", "-c", script], env={"PATH": path}, check=False).returncode
    return code, [line for line in (folder / "ran").read_text().splitlines() if " show " not in line]


@pytest.mark.parametrize("reset_failed", [0, 1])
def test_no_run_can_end_between_the_stop_and_the_start_of_a_manager(tmp_path: Path, reset_failed: int) -> None:
    """Nor is the start refused by the start limit: a deploy that writes what was missing comes within its time."""
    code, ran = manager_restart(tmp_path, reset_failed=reset_failed)
    assert code == 0
    assert ran == [
        "systemctl stop position-manager.service",
        "systemctl reset-failed position-manager.service",
        "systemctl start --no-block position-manager.service",
    ]
    waits, would, _ = restart_tasks("position_manager")
    assert waits["ansible.builtin.include_tasks"] == "idle.yml"
    assert would["when"] == "ansible_check_mode"


def test_a_manager_is_started_with_the_unit_that_was_written_last(tmp_path: Path) -> None:
    _, ran = manager_restart(tmp_path, reload="yes")
    assert ran[:2] == ["systemctl daemon-reload", "systemctl stop position-manager.service"]


@pytest.mark.parametrize("reset_failed", [0, 1])
def test_a_full_restart_stops_requests_the_login_and_starts_in_this_order(tmp_path: Path, reset_failed: int) -> None:
    """Also where systemd has not loaded the unit, and so has no count to reset."""
    code, ran = full_restart(tmp_path, reset_failed=reset_failed)
    assert code == 0
    assert ran == [
        "systemctl stop ib-gateway.service",
        "gateway-watch approve-now --instance ib-gateway",
        "systemctl reset-failed ib-gateway.service",
        "systemctl start --no-block ib-gateway.service",
    ]


def test_a_full_restart_starts_the_unit_as_it_was_written_last(tmp_path: Path) -> None:
    _, ran = full_restart(tmp_path, reload="yes")
    assert ran[:2] == ["systemctl daemon-reload", "systemctl stop ib-gateway.service"]


def test_a_full_restart_does_not_start_what_systemd_refuses(tmp_path: Path) -> None:
    code, ran = full_restart(tmp_path, reset_failed=4)
    assert code != 0
    assert ran[-1] == "systemctl reset-failed ib-gateway.service"


def test_the_back_off_of_the_program_stays_below_the_start_limit() -> None:
    """Starts that fail at once after their back-off, as systemd counts them: fewer than six within the interval."""
    interval, burst = start_limit("ib_gateway/templates/ib-gateway.service.j2")
    at, starts = 0.0, []
    for failures in range(12):
        starts.append(at)
        at += backoff.pause(failures) + 5
    for first in starts:
        assert sum(first <= start < first + interval for start in starts) < burst


def start_limit(template: str) -> tuple[int, int]:
    text = (ROLE.parent / template).read_text()
    interval, burst = (re.search(rf"^StartLimit{name}=(\d+)$", text, re.MULTILINE) for name in ("IntervalSec", "Burst"))
    assert interval is not None
    assert burst is not None
    return int(interval[1]), int(burst[1])


@pytest.mark.parametrize("role", ["ib_gateway/templates/ib-gateway", "position_manager/templates/position-manager"])
def test_a_start_that_takes_its_time_to_fail_reaches_the_start_limit(role: str) -> None:
    """systemd refuses the start after `burst` others within the interval; only then is anybody notified."""
    interval, burst = start_limit(f"{role}.service.j2")
    seconds_to_fail, restart_sec = 19, 5
    assert (seconds_to_fail + restart_sec) * burst < interval


def test_the_start_interval_is_given_where_the_engine_knows_it() -> None:
    assert "--health-start-interval" not in render("24.0.7")
    assert "--health-start-interval 1s" in render("25.0.3")


def test_a_check_waits_for_the_port_where_the_engine_knows_no_start_interval() -> None:
    """The pause of a second and the check that waits take together what the setting names."""
    unit = render("24.0.7", health_interval=12)
    assert "--health-interval 1s" in unit
    assert "sleep 11;" in unit
    # A check ends by itself: an older engine leaves one that it gives up running.
    assert "--health-timeout 17s" in unit
    # systemd replaces a single dollar sign by a variable of its own.
    assert "test $$left -gt 0" in unit
    assert "sleep" not in render("25.0.3")


def test_the_container_has_the_settings_of_the_former_script() -> None:
    unit = render("25.0.3")
    for flag in (
        "--ulimit nofile=10000:10000",
        "--health-interval 10s",
        "--health-start-period 60s",
        "--health-retries 5",
        "--user 1000:1000",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--read-only",
        "--publish 127.0.0.1:4002:4004",
        "--publish 127.0.0.1:5900:5900",
    ):
        assert flag in unit, flag


@pytest.mark.parametrize("deploys", [True, False])
def test_only_a_restart_by_command_ends_another_session_of_the_user(tmp_path: Path, deploys: bool) -> None:
    """What a restart asks for, with the variables of the deploy's handler and without them."""
    handlers = yaml.safe_load((ROLE / "handlers/main.yml").read_text())
    (restart,) = [entry for entry in handlers if entry.get("ansible.builtin.include_tasks") == "restart.yml"]
    given = restart["vars"]["__ib_gateway_deploys"] if deploys else None
    _, ran = full_restart(tmp_path, deploys=given)
    (asked,) = [line for line in ran if line.startswith("gateway-watch")]
    assert asked == "gateway-watch approve-now --instance ib-gateway" + (" --unless-yielded" if deploys else "")
