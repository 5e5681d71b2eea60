"""The steps of an upgrade over real files and programs, interrupted at each of their writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from host_audit.host import Host, UnreadableError
from host_backup import restoring
from host_service import backup_record as backups
from host_service.statefile import write_bytes
from host_upgrade import restoration
from host_upgrade import store as stores
from host_upgrade.decision import Step
from host_upgrade.inspection import Inspection
from host_upgrade.model import Kind, Outcome, Phase, SavedFile, UnusableStateError
from host_upgrade.operations import UpgradeError, Upgrades, Wanted
from host_upgrade.store import Store

ROOT = Path(__file__).parents[3]
RELEASES = Path("/opt/ib-gateway-ansible")
START = datetime(2026, 11, 28, 15, 30, tzinfo=UTC)
OLD, NEW = "image:1", "image:2"


def wanted(image: str = NEW, release: str = "bbb", archive: str = "") -> Wanted:
    gateway = {
        "name": "ib-gateway",
        "image": image,
        "image_archive": archive,
        "trading_mode": "paper",
        "apis": [{"mode": "paper", "port": 4002}],
    }
    return Wanted(release, [gateway], ["position-manager"])


class Killed(BaseException):
    """The end of a killed run: nothing handles it."""


class Machine:
    """A host below a directory: files as the roles write them, programs that answer as the real ones do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.time = START
        self.writes_left: int | None = None
        self.program("docker", self.engine())
        for release in ("aaa", "bbb"):
            self.install(release)
        self.deploy(OLD, "aaa")
        self.file("/etc/position-manager/position-manager.yml", "rules: old\n")
        self.file("/etc/systemd/system/position-manager.service", "[Service]\n")

    @staticmethod
    def engine(runs: str = "", identity: str = "sha256:1") -> str:
        """The engine's program, with a container from an image, or without one."""
        container = f"echo '{runs} {identity}'" if runs else "exit 1"
        return (
            f'case "$*" in container*) {container} ;; *.Id*image:1*) echo sha256:1 ;; *.Id*) echo sha256:2 ;; '
            "*image:*) echo 1000 ;; *) echo /var/lib/docker ;; esac"
        )

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def file(self, path: str, text: str, mode: int = 0o600) -> None:
        place = self.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def read(self, path: str) -> str:
        return self.path(path).read_text()

    def program(self, name: str, script: str) -> None:
        self.file(name if "/" in name else f"/bin/{name}", f"#!/bin/sh\n{script}\n", 0o755)

    def install(self, release: str) -> None:
        programs = f"{RELEASES}/releases/{release}/bin"
        tiers = json.dumps({"tiers": {"listening": {"ok": True}, "verified": {"ok": release == "aaa"}}})
        self.program(f"{programs}/python", "")
        # 4: only a full login can restart the gateway.
        plan = 'test "$2" = --plan && exit $(cat "$(dirname "$0")/plan" 2>&- || echo 4)'
        self.program(
            f"{programs}/gateway-watch",
            f"case $1 in status) echo '{tiers}' ;; soft-restart) {plan} ;; "
            "restart-cost) echo 'Have IBKR Mobile at hand.' ;; esac",
        )
        self.program(
            f"{programs}/position-manager",
            'case $1 in check-config) grep -q "^rules" "$2" ;; '
            """status) echo '{"phase": "READY", "units": [1], "open_markets": ["AAPL"]}' ;; esac""",
        )
        self.file(f"{RELEASES}/releases/{release}/.complete", "")

    def deploy(self, image: str, release: str) -> None:
        """What the roles do."""
        document = {"image": image, "trading_mode": "paper", "apis": [{"mode": "paper", "port": 4002}]}
        self.file("/etc/ib-gateway/ib-gateway/instance.json", json.dumps(document))
        self.file("/etc/ib-gateway/ib-gateway/container.env", f"FOR={image}\n")
        self.file("/etc/systemd/system/ib-gateway.service", f"ExecStart=run \\\n  {image}\nRestart=always\n", 0o644)
        link = self.path(f"{RELEASES}/current")
        link.unlink(missing_ok=True)
        link.symlink_to(f"releases/{release}")

    def write(self, path: Path, content: bytes, mode: int = 0o600) -> None:
        if self.writes_left == 0:
            raise Killed
        if self.writes_left is not None:
            self.writes_left -= 1
        write_bytes(path, content, mode)

    @property
    def store(self) -> Store:
        return Store(self.path("/var/lib/ib-gateway-ansible/upgrade"), self.write)

    @property
    def upgrades(self) -> Upgrades:
        host = Host(self.root)
        self.time += timedelta(seconds=10)
        return Upgrades(host, Inspection(host, UnreadableError, RELEASES), self.store, self.write, lambda: self.time)

    def start(self) -> None:
        self.upgrades.start(wanted())
        self.deploy(NEW, "bbb")

    @property
    def runs(self) -> tuple[str, str, str]:
        """The image by both of its files, and the release."""
        unit = self.read("/etc/systemd/system/ib-gateway.service").split()
        image = json.loads(self.read("/etc/ib-gateway/ib-gateway/instance.json"))["image"]
        return image, unit[unit.index("\\") + 1], self.path(f"{RELEASES}/current").readlink().name


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    yield Machine(tmp_path)


def plan(machine: Machine, of: Wanted, **options: Any) -> Any:
    return machine.upgrades.plan_upgrade(of, in_trading_hours=True, **options)


def test_a_plan_reports_that_the_restart_keeps_the_session(machine: Machine) -> None:
    machine.file(f"{RELEASES}/releases/aaa/bin/plan", "0")
    found = plan(machine, wanted())
    assert "The restart of ib-gateway keeps its session: no approval is expected." in found.text
    assert "at hand" not in found.text


def test_a_plan_reports_changes_and_the_approval_and_changes_nothing(machine: Machine) -> None:
    before = sorted(path for path in machine.root.rglob("*"))
    found = plan(machine, wanted())
    assert (found.step, found.problems, found.fetch) == (Step.SWITCH, (), ())
    assert "image:1 -> image:2" in found.text
    assert "Have IBKR Mobile at hand." in found.text
    assert "Not verified already" not in found.text
    assert sorted(path for path in machine.root.rglob("*")) == before


def test_a_plan_reports_what_is_not_verified_before(machine: Machine) -> None:
    machine.deploy(OLD, "bbb")
    assert "Not verified already: ib-gateway (verified)." in plan(machine, wanted()).text


def test_a_plan_without_a_difference_has_nothing_to_do(machine: Machine) -> None:
    assert plan(machine, wanted(OLD, "aaa")).step is Step.NOTHING


def test_an_image_that_is_neither_there_nor_to_be_had_is_a_problem(machine: Machine) -> None:
    machine.program(
        "docker",
        'case "$*" in *image:1*) echo 1000 ;; manifest*) echo manifest unknown >&2; exit 1 ;; '
        "*image:2*) exit 1 ;; esac",
    )
    (problem,) = plan(machine, wanted()).problems
    assert "manifest unknown" in problem
    (problem,) = plan(machine, wanted(archive="/opt/image.tar")).problems
    assert "/opt/image.tar" in problem
    machine.file("/opt/image.tar", "layers")
    assert plan(machine, wanted(archive="/opt/image.tar")).fetch == (NEW,)


def test_the_open_markets_of_the_manager_prevent_an_upgrade(machine: Machine) -> None:
    found = machine.upgrades.plan_upgrade(wanted(), in_trading_hours=False)
    assert "AAPL" in found.problems[0]


def test_a_deploy_that_did_not_end_is_not_the_previous_state(machine: Machine) -> None:
    machine.file("/etc/ib-gateway/ib-gateway/instance.json", '{"image": "image:9", "trading_mode": "paper"}')
    assert "did not end" in plan(machine, wanted()).problems[0]


@pytest.mark.parametrize(
    ("runs", "identity", "ended"),
    [
        (OLD, "sha256:1", True),
        ("", "", True),
        # Another name of the same image, and an image that was loaded again with the same name.
        ("other:1", "sha256:1", True),
        (OLD, "sha256:0", True),
        ("image:0", "sha256:0", False),
    ],
)
def test_files_of_an_image_that_never_ran_are_not_the_previous_state(
    machine: Machine, runs: str, identity: str, ended: bool
) -> None:
    """As a deploy leaves them that was killed before its restarts."""
    machine.program("docker", machine.engine(runs, identity))
    found = plan(machine, wanted())
    assert ["ib-gateway still runs another image than image:1" in problem for problem in found.problems] == (
        [] if ended else [True]
    )
    # Nor is there nothing to do, if those are the files that are wanted.
    assert plan(machine, wanted(OLD, "aaa")).step is (Step.NOTHING if ended else Step.REFUSE)
    machine.upgrades.start(wanted())
    assert plan(machine, wanted()).problems == ()


def test_a_verified_upgrade_leaves_its_record(machine: Machine) -> None:
    machine.start()
    record = machine.upgrades.finish(wanted(), verified=True)
    assert record is not None
    assert (record.outcome, record.kind) == (Outcome.VERIFIED, Kind.UPGRADE)
    assert record.tiers_before["ib-gateway"] == {"listening": True, "verified": True}
    assert record.tiers_after["ib-gateway"] == {"listening": True, "verified": False}
    assert record.tiers_after["position-manager"] == {"phase": "READY"}
    line = stores.summary(machine.store.root)
    assert line is not None
    assert "verified after" in line
    assert "image:1 -> image:2" in line
    assert stores.last_record(machine.store.root) == record


def test_the_line_of_a_record_shortens_digests(machine: Machine) -> None:
    digest = "@sha256:" + "0123456789ab" + "c" * 52
    machine.upgrades.start(wanted(NEW + digest))
    machine.deploy(NEW + digest, "bbb")
    record = machine.upgrades.finish(wanted(NEW + digest), verified=True)
    assert record is not None
    assert "image:1 -> image:2@sha256:0123456789ab;" in record.line
    assert record.after.images == {"ib-gateway": NEW + digest}


def test_state_and_records_are_for_root_only(machine: Machine) -> None:
    machine.start()
    machine.upgrades.finish(wanted(), verified=True)
    modes = {path.name: path.stat().st_mode & 0o777 for path in [machine.store.root, *machine.store.root.rglob("*")]}
    assert modes.pop("upgrade") == modes.pop("records") == 0o700
    assert set(modes.values()) == {0o600}
    assert len(modes) == 2


def test_units_that_a_deploy_would_remove_or_create_prevent_an_upgrade(machine: Machine) -> None:
    machine.file("/etc/systemd/system/second.service", "[Service]\n")
    machine.path("/etc/systemd/system/position-manager.service").unlink()
    missing, removed = plan(machine, replace(wanted(), removed=["second", "not-there"])).problems
    assert "position-manager is not deployed" in missing
    assert "remove second" in removed


@pytest.mark.parametrize("active", [True, False])
def test_a_manager_that_runs_and_does_not_answer_may_hold_anything(machine: Machine, active: bool) -> None:
    machine.program(f"{RELEASES}/releases/aaa/bin/position-manager", "exit 2")
    machine.program("systemctl", f"exit {0 if active else 3}")
    found = machine.upgrades.plan_upgrade(wanted(), in_trading_hours=False)
    assert ["runs and does not answer" in problem for problem in found.problems] == [True] * active


def test_settings_from_before_the_upgrade_do_not_return_a_gateway_to_another_mode(machine: Machine) -> None:
    machine.start()
    machine.upgrades.finish(wanted(), verified=True)
    live = wanted()
    live = replace(live, gateways=[{**live.gateways[0], "trading_mode": "live"}])
    assert "deployed as paper" in machine.upgrades.plan_rollback(live).problems[0]
    assert machine.upgrades.plan_rollback(wanted()).problems == ()
    document = {"image": NEW, "trading_mode": "paper", "apis": [{"mode": "paper", "port": 4002}]}
    before = machine.store.read()
    assert before is not None
    files = tuple(
        replace(file, content=json.dumps({**document, "image": OLD, "read_only_api": False}))
        if file.path.endswith("instance.json")
        else file
        for file in before.files
    )
    machine.store.write(replace(before, files=files))
    machine.file("/etc/ib-gateway/ib-gateway/instance.json", json.dumps({**document, "read_only_api": True}))
    assert "allow orders again" in machine.upgrades.plan_rollback(wanted()).problems[0]


def test_a_failed_upgrade_goes_back_to_equal_files_and_the_old_release(machine: Machine) -> None:
    machine.start()
    state = machine.upgrades.restore(wanted(), "No Java.")
    assert machine.runs == (OLD, OLD, "aaa")
    assert machine.read("/etc/ib-gateway/ib-gateway/container.env") == "FOR=image:1\n"
    assert machine.path("/etc/systemd/system/ib-gateway.service").stat().st_mode & 0o777 == 0o644
    assert machine.path(f"{RELEASES}/previous").readlink().name == "bbb"
    assert state.restart == ("ib-gateway", "position-manager")
    record = machine.upgrades.finish(wanted(), verified=True)
    assert record is not None
    assert (record.outcome, record.reason) == (Outcome.ROLLED_BACK, "No Java.")


def test_a_file_that_the_upgrade_created_is_removed_again(machine: Machine) -> None:
    machine.path("/etc/ib-gateway/ib-gateway/container.env").unlink()
    machine.start()
    machine.upgrades.restore(wanted(), "")
    assert not machine.path("/etc/ib-gateway/ib-gateway/container.env").exists()


def test_only_what_changed_is_restarted(machine: Machine) -> None:
    machine.upgrades.start(wanted(release="aaa"))
    machine.deploy(NEW, "aaa")
    assert machine.upgrades.restore(wanted(release="aaa"), "").restart == ("ib-gateway",)


@pytest.mark.parametrize(("runs", "restarted"), [("aaa", ()), ("bbb", ("ib-gateway",))])
def test_a_watch_of_the_newer_release_does_not_outlast_its_rollback(
    machine: Machine, runs: str, restarted: tuple[str, ...]
) -> None:
    machine.upgrades.start(wanted(OLD))
    machine.deploy(OLD, "bbb")
    machine.program("systemctl", "echo 42")
    program = f"{RELEASES}/releases/{runs}/bin/"
    machine.file("/proc/42/cmdline", f"{program}python\0{program}gateway-watch\0run\0")
    assert machine.upgrades.restore(wanted(OLD), "").restart == (*restarted, "position-manager")


def test_rules_that_were_changed_since_the_upgrade_remain(machine: Machine) -> None:
    machine.start()
    machine.upgrades.finish(wanted(), verified=True)
    machine.file("/etc/position-manager/position-manager.yml", "rules: newer\n")
    machine.upgrades.restore(wanted(), "by hand")
    assert machine.read("/etc/position-manager/position-manager.yml") == "rules: newer\n"


def test_rules_that_the_old_release_cannot_read_are_restored(machine: Machine) -> None:
    machine.start()
    machine.file("/etc/position-manager/position-manager.yml", "unknown: key\n")
    machine.upgrades.restore(wanted(), "")
    assert machine.read("/etc/position-manager/position-manager.yml") == "rules: old\n"


def test_a_rollback_by_hand_has_a_record_of_its_own(machine: Machine) -> None:
    machine.start()
    machine.upgrades.finish(wanted(), verified=True)
    assert machine.upgrades.plan_rollback(wanted()).step is Step.GO_BACK
    machine.upgrades.restore(wanted(), "by hand")
    record = machine.upgrades.finish(wanted(), verified=True)
    assert record is not None
    assert (record.kind, record.before.images, record.after.images) == (
        *(Kind.ROLLBACK, {"ib-gateway": NEW}),
        {"ib-gateway": OLD},
    )
    assert len(list((machine.store.root / "records").iterdir())) == 2
    assert machine.upgrades.plan_rollback(wanted()).step is Step.NOTHING


def test_after_a_rollback_a_deploy_of_the_same_is_refused_until_it_is_allowed(machine: Machine) -> None:
    machine.start()
    machine.upgrades.restore(wanted(), "No Java.")
    machine.upgrades.finish(wanted(), verified=True)
    parts = ("image", "release")
    assert machine.upgrades.plan_deploy(wanted(), parts, rejected_allowed=False).step is Step.REFUSE
    assert machine.upgrades.plan_deploy(wanted(OLD, "aaa"), parts, rejected_allowed=False).step is Step.DEPLOY
    assert machine.upgrades.plan_deploy(wanted(), parts, rejected_allowed=True).step is Step.DEPLOY
    machine.deploy(NEW, "bbb")
    machine.upgrades.finish(wanted(), verified=True)
    assert machine.store.read() is None


def test_a_rollback_that_is_not_verified_is_tried_again(machine: Machine) -> None:
    machine.start()
    machine.upgrades.restore(wanted(), "No Java.")
    record = machine.upgrades.finish(wanted(), verified=False)
    assert record is not None
    assert record.outcome is Outcome.NOT_VERIFIED
    assert machine.upgrades.plan_rollback(wanted()).step is Step.FINISH_ROLLBACK
    # Whether the manager had been restarted with the previous release is not known.
    assert machine.upgrades.restore(wanted(), "again").restart == ("ib-gateway", "position-manager")
    again = machine.upgrades.finish(wanted(), verified=True)
    assert again is not None
    assert (again.outcome, again.reason) == (Outcome.ROLLED_BACK, "No Java.")


def test_a_missing_previous_release_is_reported_before_anything_is_restored(machine: Machine) -> None:
    machine.start()
    machine.path(f"{RELEASES}/releases/aaa/.complete").unlink()
    assert "previous release aaa" in machine.upgrades.plan_rollback(wanted()).problems[0]
    with pytest.raises(UpgradeError, match="previous release aaa"):
        machine.upgrades.restore(wanted(), "")
    assert machine.runs == (NEW, NEW, "bbb")


def test_a_resumed_upgrade_goes_back_to_where_the_first_run_started(machine: Machine) -> None:
    machine.start()
    found = plan(machine, wanted())
    assert (found.step, found.problems) == (Step.RESUME, ())
    state = machine.upgrades.start(wanted())
    assert (state.before.release, state.before.images, state.interruptions) == ("aaa", {"ib-gateway": OLD}, 1)
    machine.upgrades.restore(wanted(), "")
    assert machine.runs == (OLD, OLD, "aaa")


def test_a_deploy_ends_an_interrupted_upgrade(machine: Machine) -> None:
    machine.start()
    record = machine.upgrades.finish(wanted(), verified=True)
    assert record is not None
    assert record.outcome is Outcome.VERIFIED
    machine.start()
    machine.deploy("image:3", "bbb")
    record = machine.upgrades.finish(wanted("image:3"), verified=True)
    assert record is not None
    assert record.outcome is Outcome.REPLACED
    assert machine.store.read() is None


def test_a_deploy_of_a_part_does_not_end_an_interrupted_upgrade(machine: Machine) -> None:
    machine.start()
    assert machine.upgrades.finish(wanted(), verified=False) is None
    assert plan(machine, wanted()).step is Step.RESUME
    assert stores.last_record(machine.store.root) is None


def test_a_deploy_verifies_what_a_rollback_could_not(machine: Machine) -> None:
    machine.start()
    machine.upgrades.restore(wanted(), "No Java.")
    machine.upgrades.finish(wanted(), verified=False)
    machine.upgrades.finish(wanted(OLD, "aaa"), verified=False)
    assert machine.upgrades.plan_rollback(wanted()).step is Step.FINISH_ROLLBACK
    machine.upgrades.finish(wanted(OLD, "aaa"), verified=True)
    assert machine.upgrades.plan_rollback(wanted()).step is Step.NOTHING


def test_a_rollback_whose_release_is_gone_can_be_given_up_for_a_deploy(machine: Machine) -> None:
    machine.start()
    machine.upgrades.restore(wanted(), "No Java.")
    machine.path(f"{RELEASES}/releases/aaa/.complete").unlink()
    blocked = machine.upgrades.plan_deploy(wanted(), ("image", "release"), rejected_allowed=False)
    assert blocked.step is Step.FINISH_ROLLBACK
    assert "host_upgrade_rejected_allowed=true" in blocked.problems[0]
    deploys = machine.upgrades.plan_deploy(wanted(), ("image", "release"), rejected_allowed=True)
    assert (deploys.step, deploys.problems) == (Step.DEPLOY, ())
    machine.deploy(NEW, "bbb")
    assert machine.upgrades.finish(wanted(), verified=False) is None
    record = machine.upgrades.finish(wanted(), verified=True)
    assert record is not None
    assert record.outcome is Outcome.REPLACED
    assert machine.store.read() is None


def test_a_rollback_ends_also_if_the_settings_have_one_more_gateway(machine: Machine) -> None:
    machine.start()
    machine.upgrades.restore(wanted(), "No Java.")
    more = replace(wanted(), gateways=[*wanted().gateways, {**wanted().gateways[0], "name": "second"}])
    record = machine.upgrades.finish(more, verified=False)
    assert record is not None
    assert record.outcome is Outcome.NOT_VERIFIED


def killed(machine: Machine, after: int, step: Callable[[], object]) -> bool:
    """Run a step that is killed before its write with that number; whether it had so many."""
    machine.writes_left = after
    try:
        step()
    except Killed:
        return True
    finally:
        machine.writes_left = None
    return False


def test_a_restore_killed_at_any_write_is_completed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = 0
    for number in range(20):
        root = tmp_path / str(number)
        monkeypatch.setenv("PATH", f"{root}/bin:{os.environ['PATH']}")
        machine = Machine(root)
        machine.start()
        upgrades = machine.upgrades
        interrupted = killed(machine, number, partial(upgrades.restore, wanted(), "No Java."))
        if not interrupted:
            break
        state = machine.store.read()
        assert state is not None
        # Before its first write nothing has changed, so that the upgrade is continued.
        expected = Step.RESUME if number == 0 else Step.FINISH_ROLLBACK
        assert plan(machine, wanted()).step is expected
        completed = machine.upgrades.restore(wanted(), "No Java.")
        assert machine.runs == (OLD, OLD, "aaa")
        assert set(completed.restart) == {"ib-gateway", "position-manager"}
        assert completed.reason == "No Java."
        ended += 1
    # The state, and the three files of the gateway.
    assert ended == 4


def test_a_restored_file_has_its_former_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[tuple[Path, int, int]] = []
    monkeypatch.setattr(os, "chown", lambda *owner: owners.append(owner))
    saved = SavedFile("/etc/position-manager/one.yml", "one", "rules", 0o640, os.getuid(), os.getgid() + 1)
    place = tmp_path / "etc/position-manager/one.yml"
    place.parent.mkdir(parents=True)
    restoration.restore(Host(tmp_path), [saved], write_bytes)
    assert owners == [(place, os.getuid(), os.getgid() + 1)]
    assert place.stat().st_mode & 0o777 == 0o640


def test_a_rollback_killed_before_its_restarts_still_restarts_everything(machine: Machine) -> None:
    machine.start()
    machine.upgrades.restore(wanted(), "No Java.")
    assert plan(machine, wanted()).step is Step.FINISH_ROLLBACK
    state = machine.upgrades.restore(wanted(), "No Java.")
    assert (state.restart, state.interruptions) == (("ib-gateway", "position-manager"), 1)


def test_nothing_is_started_with_the_state_of_an_interrupted_restore(machine: Machine) -> None:
    machine.file(f"{backups.STATE}/{restoring.SWAP}", "{}")
    assert "restore of a backup was interrupted" in plan(machine, wanted()).problems[0]
    machine.start()
    assert "restore of a backup was interrupted" in machine.upgrades.plan_rollback(wanted()).problems[0]
    machine.path(f"{backups.STATE}/{restoring.SWAP}").unlink()
    assert machine.upgrades.plan_rollback(wanted()).problems == ()


def test_an_end_killed_at_any_write_is_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (0, 1):
        root = tmp_path / str(number)
        monkeypatch.setenv("PATH", f"{root}/bin:{os.environ['PATH']}")
        machine = Machine(root)
        machine.start()
        upgrades = machine.upgrades
        assert killed(machine, number, partial(upgrades.finish, wanted(), verified=True))
        assert plan(machine, wanted()).step is Step.RESUME
        machine.upgrades.start(wanted())
        machine.upgrades.finish(wanted(), verified=True)
        assert len(list((machine.store.root / "records").iterdir())) == 1
        record = stores.last_record(machine.store.root)
        assert record is not None
        assert record.interruptions == 1


def test_the_oldest_records_are_removed(machine: Machine) -> None:
    for _ in range(5):
        machine.start()
        machine.upgrades.finish(wanted(), verified=True, kept=3)
    names = [path.name for path in sorted((machine.store.root / "records").iterdir())]
    assert len(names) == 3
    last = stores.last_record(machine.store.root)
    assert last is not None
    assert names[-1] == f"{last.started:%Y%m%dT%H%M%SZ}.json"


def test_an_interrupted_upgrade_is_shown(machine: Machine) -> None:
    assert stores.summary(machine.store.root) is None
    machine.start()
    assert "was interrupted (switching)" in str(stores.summary(machine.store.root))


def test_a_damaged_state_is_named(machine: Machine) -> None:
    machine.start()
    machine.store.state_file.write_text('{"phase": "sleeping"}')
    with pytest.raises(UnusableStateError, match=r"state\.json"):
        plan(machine, wanted())
    assert "state.json" in str(stores.summary(machine.store.root))


def test_site_yml_reads_the_phase_as_it_is_written(machine: Machine) -> None:
    machine.start()
    preflight = (ROOT / "roles/ib_gateway/tasks/preflight_host.yml").read_text()
    (command,) = re.findall(r"sed -n '[^']*phase[^']*'", preflight)
    shell = ["bash", "-c", f"{command} {machine.store.state_file}"]
    assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout == "switching\n"


def test_a_state_is_read_as_it_was_written(machine: Machine) -> None:
    machine.start()
    state = machine.upgrades.restore(wanted(), "No Java.")
    assert machine.store.read() == state
    assert state.phase is Phase.ROLLING_BACK
