"""A soft restart from the request to its end: what it sends, what the supervisor can read, and when it is over."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.gateway_watch.instance_files import DOCUMENT

from gateway_watch import cli, session, soft_restart_run
from gateway_watch import instance as instance_module
from gateway_watch.command_server import LABEL
from gateway_watch.engine import Container, Engine, EngineError, parse_container
from gateway_watch.instance import Instance, parse
from gateway_watch.session import Session
from gateway_watch.soft_restart import Kind, Outcome, Request, lock_file, read_request, request_file, write_request
from gateway_watch.soft_restart_run import InProgressError, SoftRestart
from host_service import gateway_login
from host_service.gateway_login import GatewayLogin

NOW = datetime(2026, 11, 25, 17, tzinfo=UTC)
LOGIN = datetime(2026, 11, 22, 18, 5, tzinfo=UTC)
STARTED = LOGIN - timedelta(minutes=2)
ACCEPTED = "OK RESTART in progress\nOK RESTART at 12:01 PM\n"


class Gateway(Engine):
    """The engine, the supervisor and the clock of a gateway; `course` is what happens with each pause."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        monkeypatch.setattr(instance_module, "RUN_ROOT", folder / "run")
        self.instance = _instance(folder)
        self.answer, self.sent = ACCEPTED, list[str]()
        self.sent_at: list[float] = []
        self.course: list[Callable[[], None]] = []
        self.seconds = 0.0
        self.requested: Request | None = None
        self.labels = {LABEL: "7462"}
        self.container_id = "1" * 64
        self.running = True
        self.supervised: datetime | None = None
        self.login("ready")
        self.session(Session(since=LOGIN, twofa=True, last_restart=LOGIN))

    def login(self, state: str) -> None:
        gateway_login.write(self.instance.login_file.parent, GatewayLogin(state, False, f"it is {state}"))

    def session(self, value: Session) -> None:
        session.write(self.instance.session_file, value)

    def starts_new_container(self) -> None:
        self.container_id = "2" * 64
        self.login("starting")

    def becomes_ready(self, since: datetime = LOGIN) -> Callable[[], None]:
        def become() -> None:
            self.login("ready")
            old = session.read(self.instance.session_file)
            self.session(replace(old, last_restart=self.now(), since=since))

        return become

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)
        if self.course:
            self.course.pop(0)()

    async def find(self, name: str) -> Container | None:
        if not self.container_id:
            return None
        return parse_container(
            {
                "Id": self.container_id,
                "Name": f"/{name}",
                "Config": {"Image": "image", "Env": ["TRADING_MODE=paper"], "Labels": self.labels},
                "State": {
                    "Status": "running" if self.running else "exited",
                    "ExitCode": 0,
                    "StartedAt": STARTED.isoformat(),
                    "FinishedAt": "0001-01-01T00:00:00Z",
                },
            }
        )

    async def unit_started(self, unit: str) -> datetime | None:
        assert unit == self.instance.unit
        return self.supervised

    async def run(self, *arguments: str) -> str:
        self.requested = read_request(request_file(self.instance.state_dir))
        self.sent.append(arguments[-2])
        self.sent_at.append(self.seconds)
        # Whatever else runs has its turn.
        await asyncio.sleep(0)
        if not self.answer:
            raise EngineError("connection refused")
        return self.answer

    def restart(self) -> SoftRestart:
        folder = self.instance.config_dir.parent
        return SoftRestart(
            self.instance,
            self,
            now=self.now,
            monotonic=lambda: self.seconds,
            sleep=self.sleep,
            unit_started=self.unit_started,
            units=folder / "units",
            release=folder / "current",
        )


def _instance(folder: Path) -> Instance:
    for name in ("state", "secrets", "units", "config", "run/ib-gateway"):
        (folder / name).mkdir(parents=True)
    for name in ("secrets/tws_password", "secrets/login.env", "config/container.env", "units/ib-gateway.service"):
        (folder / name).touch()
        _written(folder / name, STARTED - timedelta(minutes=1))
    document = DOCUMENT | {"secrets_dir": str(folder / "secrets"), "state_dir": str(folder / "state")}
    file = folder / "config" / "instance.json"
    file.write_text(json.dumps(document))
    _written(file, STARTED - timedelta(minutes=1))
    return parse(document, file)


def _written(path: Path, moment: datetime) -> None:
    os.utime(path, (moment.timestamp(), moment.timestamp()))


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    return Gateway(tmp_path, monkeypatch)


def test_gateway_that_restarts_in_its_container_keeps_its_session(gateway: Gateway) -> None:
    gateway.course = [lambda: None, lambda: gateway.login("restarting"), gateway.becomes_ready()]
    outcome, text = asyncio.run(gateway.restart().carry_out(Kind.RESTART))
    assert (outcome, text) == (Outcome.KEPT, "it is ready")
    assert gateway.sent == ["RESTART"]


def test_supervisor_can_read_of_it_before_the_command_and_not_after_its_end(gateway: Gateway) -> None:
    gateway.course = [gateway.starts_new_container, gateway.becomes_ready()]
    asyncio.run(gateway.restart().carry_out(Kind.REPLACE))
    assert gateway.requested is not None
    assert gateway.requested.kind is Kind.REPLACE and gateway.requested.in_progress(NOW)
    assert gateway.sent == ["PAUSE"]
    assert read_request(request_file(gateway.instance.state_dir)) is None


def test_container_that_is_replaced_leaves_no_login_for_a_moment(gateway: Gateway) -> None:
    gateway.course = [gateway.instance.login_file.unlink, gateway.starts_new_container, gateway.becomes_ready()]
    assert asyncio.run(gateway.restart().carry_out(Kind.REPLACE))[0] is Outcome.KEPT


def test_gateway_that_restarts_in_the_container_to_replace_needs_a_full_login(gateway: Gateway) -> None:
    """As when its planned restart comes first: the new settings would not be applied, and nobody would notice."""
    for since in (LOGIN, NOW):
        gateway.login("ready")
        gateway.session(Session(since=LOGIN, twofa=True, last_restart=LOGIN))
        gateway.course = [lambda: gateway.login("restarting"), gateway.becomes_ready(since)]
        outcome, _ = asyncio.run(gateway.restart().carry_out(Kind.REPLACE))
        assert outcome is Outcome.NOT_REPLACED and outcome.full_login_needed


def test_full_login_instead_is_seen(gateway: Gateway) -> None:
    gateway.course = [lambda: gateway.login("restarting"), lambda: gateway.login("awaiting_2fa")]
    assert asyncio.run(gateway.restart().carry_out(Kind.RESTART)) == (Outcome.FULL_LOGIN, "it is awaiting_2fa")
    gateway.login("ready")
    gateway.course = [lambda: gateway.login("restarting"), gateway.becomes_ready(since=NOW)]
    assert asyncio.run(gateway.restart().carry_out(Kind.RESTART))[0] is Outcome.FULL_LOGIN


@pytest.mark.parametrize("answer", ["ERROR RESTART already in progress\n", ""])
def test_command_that_fails_ends_it_at_once(gateway: Gateway, answer: str) -> None:
    gateway.answer = answer
    outcome, text = asyncio.run(gateway.restart().carry_out(Kind.RESTART))
    assert outcome is Outcome.REFUSED
    assert "the login controller" in text
    assert gateway.seconds == 0
    assert read_request(request_file(gateway.instance.state_dir)) is None


@pytest.mark.parametrize("kind", list(Kind))
def test_gateway_that_does_not_restart_is_given_up(gateway: Gateway, kind: Kind) -> None:
    assert asyncio.run(gateway.restart().carry_out(kind))[0] is Outcome.NOT_RESTARTED
    assert 60 < gateway.seconds < 300


def test_container_that_ends_and_is_not_created_again_is_not_ready(gateway: Gateway) -> None:
    def end() -> None:
        gateway.container_id = ""
        gateway.instance.login_file.unlink()

    gateway.course = [end]
    assert asyncio.run(gateway.restart().carry_out(Kind.REPLACE))[0] is Outcome.NOT_READY


def test_container_that_has_ended_and_is_not_removed_is_not_ready(gateway: Gateway) -> None:
    def end() -> None:
        gateway.running = False
        gateway.instance.login_file.unlink()

    gateway.course = [end]
    assert asyncio.run(gateway.restart().carry_out(Kind.REPLACE))[0] is Outcome.NOT_READY


def test_second_request_is_rejected_while_one_is_in_progress(gateway: Gateway) -> None:
    file = request_file(gateway.instance.state_dir)
    write_request(file, Request(Kind.RESTART, NOW - timedelta(seconds=20), NOW + timedelta(seconds=100)))
    with pytest.raises(InProgressError, match="is in progress until 17:01:40"):
        asyncio.run(gateway.restart().carry_out(Kind.RESTART))
    assert gateway.sent == []
    assert read_request(file) is not None
    # Its process was killed, and the gateway restarts: a plan would be a full login.
    gateway.login("restarting")
    with pytest.raises(InProgressError, match="ib_gateway_soft_restart=false"):
        asyncio.run(gateway.restart().plan())
    gateway.seconds = 101
    assert not asyncio.run(gateway.restart().plan())[0].soft


def test_of_two_requests_at_the_same_moment_one_is_rejected(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def both() -> list[object]:
        runs = (gateway.restart().carry_out(Kind.RESTART), gateway.restart().carry_out(Kind.REPLACE))
        return list(await asyncio.gather(*runs, return_exceptions=True))

    # Neither has written its request yet when the other one looks for it.
    monkeypatch.setattr(soft_restart_run, "read_request", lambda file: None)
    gateway.course = [lambda: gateway.login("restarting"), gateway.becomes_ready()]
    first, second = asyncio.run(both())
    assert isinstance(second, InProgressError)
    assert isinstance(first, tuple) and first[0] is Outcome.KEPT
    assert gateway.sent == ["RESTART"]


def test_no_plan_is_made_of_a_gateway_that_is_being_restarted(gateway: Gateway) -> None:
    """It would be a full login, since the gateway is not ready, and would end the session that is kept."""

    async def second() -> None:
        # The first one has sent its command.
        assert gateway.sent
        with pytest.raises(InProgressError, match="try again once it has ended"):
            await gateway.restart().plan()

    async def both() -> Outcome:
        (outcome, _), _ = await asyncio.gather(gateway.restart().carry_out(Kind.RESTART), second())
        return outcome

    gateway.course = [lambda: gateway.login("restarting"), lambda: None, lambda: None, gateway.becomes_ready()]
    assert asyncio.run(both()) is Outcome.KEPT
    # Afterwards it is possible again, also while somebody else plans.
    with lock_file(gateway.instance.state_dir).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert asyncio.run(gateway.restart().plan())[0].soft


def test_plan_leaves_no_file(gateway: Gateway) -> None:
    before = set(gateway.instance.state_dir.iterdir())
    asyncio.run(gateway.restart().plan())
    assert set(gateway.instance.state_dir.iterdir()) == before


def test_request_covers_all_that_its_run_can_take(gateway: Gateway) -> None:
    gateway.session(Session(since=LOGIN, twofa=True, last_restart=NOW))
    gateway.course = [lambda: None, gateway.starts_new_container]
    assert asyncio.run(gateway.restart().carry_out(Kind.REPLACE))[0] is Outcome.NOT_READY
    assert gateway.requested is not None and gateway.requested.in_progress(gateway.now())


def test_changed_files_replace_the_container(gateway: Gateway) -> None:
    folder = gateway.instance.config_dir.parent

    def kind() -> Kind:
        return asyncio.run(_kind(gateway))

    assert kind() is Kind.RESTART
    for name in ("config/container.env", "units/ib-gateway.service", "secrets/notify_urls"):
        (folder / name).touch()
        _written(folder / name, STARTED + timedelta(minutes=1))
        assert kind() is Kind.REPLACE, name
        _written(folder / name, STARTED - timedelta(minutes=1))
        assert kind() is Kind.RESTART
    # A release that was installed since: its programs run from the next start of the unit on.
    (folder / "current").symlink_to("releases/2")
    assert kind() is Kind.REPLACE


def test_settings_written_before_the_container_but_after_its_supervisor_replace_it(gateway: Gateway) -> None:
    """As after a deploy that was interrupted while the supervisor waited for a person."""
    gateway.supervised = STARTED - timedelta(hours=5)
    _written(gateway.instance.config_dir / "instance.json", STARTED - timedelta(hours=6))
    for file in (*gateway.instance.login_files, *gateway.instance.config_dir.parent.glob("units/*")):
        _written(file, STARTED - timedelta(hours=6))
    _written(gateway.instance.config_dir / "container.env", STARTED - timedelta(hours=6))
    assert asyncio.run(_kind(gateway)) is Kind.RESTART
    _written(gateway.instance.config_dir / "instance.json", STARTED - timedelta(hours=1))
    assert asyncio.run(_kind(gateway)) is Kind.REPLACE


async def _kind(gateway: Gateway) -> Kind:
    container = await gateway.find("ib-gateway")
    assert container is not None
    return await gateway.restart().kind(container)


def _command(gateway: Gateway, capsys: pytest.CaptureFixture[str], *, planned: bool = False) -> tuple[int, str]:
    status = asyncio.run(cli._restart_softly(gateway.instance, gateway.restart(), planned=planned))
    return status, capsys.readouterr().out


def test_command_reports_the_kind_before_it_acts(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = _command(gateway, capsys, planned=True)
    assert status == 0 and "keeps its session" in text and "its container stays" in text
    assert gateway.sent == []
    gateway.labels = {}
    status, text = _command(gateway, capsys, planned=True)
    assert status == cli.FULL_LOGIN
    assert "is a full login: the running container was started without" in text
    assert "have IBKR Mobile at hand" in text
    gateway.running = False
    status, text = _command(gateway, capsys, planned=True)
    assert status == cli.FULL_LOGIN and "command server" not in text


def test_approval_is_announced_for_the_settings_as_they_are_now(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    """A deploy can bring or remove the secret of the authenticator app; the session knows the last login only."""
    gateway.labels = {}
    gateway.session(Session(since=LOGIN, twofa=False, last_restart=LOGIN, codes=True))
    assert "have IBKR Mobile at hand" in _command(gateway, capsys, planned=True)[1]
    gateway.session(Session(since=LOGIN, twofa=True, last_restart=LOGIN))
    gateway.instance = replace(gateway.instance, totp=True)
    # The file of the secret is missing.
    assert "have IBKR Mobile at hand" in _command(gateway, capsys, planned=True)[1]
    secret = gateway.instance.secrets_dir / "totp_secret"
    secret.touch()
    _written(secret, LOGIN - timedelta(minutes=1))
    assert "have IBKR Mobile at hand" in _command(gateway, capsys, planned=True)[1]
    _written(secret, LOGIN + timedelta(minutes=1))
    assert "have IBKR Mobile at hand" not in _command(gateway, capsys, planned=True)[1]
    # No login yet.
    gateway.session(Session())
    assert "have IBKR Mobile at hand" not in _command(gateway, capsys, planned=True)[1]
    gateway.session(Session(since=LOGIN, twofa=True, last_restart=LOGIN))
    gateway.labels = {LABEL: "7462"}
    gateway.course = [gateway.starts_new_container, lambda: gateway.login("failed")]
    status, text = _command(gateway, capsys)
    assert status == cli.LOGIN_FOLLOWS and text.endswith("This is a full login; its code is entered.\n")


def test_full_login_that_is_requested_is_reported_as_one(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    status = asyncio.run(cli._restart_softly(gateway.instance, gateway.restart(), planned=True, full=True))
    text = capsys.readouterr().out
    assert status == cli.FULL_LOGIN and "is a full login: it was requested so. " in text
    assert "have IBKR Mobile at hand" in text


def test_command_has_an_exit_status_for_what_must_follow(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.course = [lambda: gateway.login("restarting"), gateway.becomes_ready()]
    status, text = _command(gateway, capsys)
    assert (status, text) == (0, "ib-gateway has restarted and kept its session.\n")
    gateway.course = [lambda: gateway.login("restarting"), lambda: gateway.login("failed")]
    status, text = _command(gateway, capsys)
    assert status == cli.LOGIN_FOLLOWS and "its session was not kept: it is failed" in text
    gateway.login("ready")
    gateway.answer = "ERROR RESTART already in progress\n"
    status, text = _command(gateway, capsys)
    assert status == cli.FULL_LOGIN and "RESTART already in progress. A full login is needed." in text


def test_gateway_that_has_just_become_ready_gets_the_command_later(gateway: Gateway) -> None:
    gateway.session(Session(since=LOGIN, twofa=True, last_restart=NOW - timedelta(seconds=5)))
    gateway.course = [lambda: None, gateway.becomes_ready()]
    assert asyncio.run(gateway.restart().carry_out(Kind.RESTART))[0] is Outcome.KEPT
    assert gateway.sent_at == [10]


@pytest.mark.parametrize("planned", [True, False])
def test_command_fails_while_another_restart_is_in_progress(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], planned: bool
) -> None:
    monkeypatch.setattr(cli, "SoftRestart", lambda instance, say: gateway.restart())
    write_request(request_file(gateway.instance.state_dir), Request(Kind.RESTART, NOW, NOW + timedelta(seconds=100)))
    options = argparse.Namespace(plan=planned, full=False)
    # Neither a restart that was done nor one that needs a full login.
    assert cli.restart_softly(gateway.instance, options) == 1
    assert "is in progress until 17:01:40 UTC" in capsys.readouterr().err
    assert gateway.sent == []
