"""What each fact about a gateway means, and which failure is named first."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from tests.unit.gateway_watch.instance_files import DOCUMENT
from tests.unit.gateway_watch.status_sample import AT, CONTAINER, HEALTHY, LOGIN, UNIT

from gateway_watch.breaker import Breaker, Opening
from gateway_watch.doctor.checks import Check, Verdict, examine, first_failure
from gateway_watch.doctor.facts import Clock, Credentials, Facts, FileFacts, ImageFacts, Outbox, Server, Space
from gateway_watch.doctor.report import conclusion, render, to_json
from gateway_watch.gateway_versions import Support
from gateway_watch.instance import parse
from gateway_watch.login import LoginState
from gateway_watch.signatures import load
from gateway_watch.tiers import Tier
from unit_recovery.causes import StartCause

SECRETS = Path("/etc/ib-gateway/ib-gateway/secrets")
GB = 1 << 30
VERIFIED = Tier("verified", True, "paper 127.0.0.1:4002 accounts DU*****67")
STATUS = replace(HEALTHY, tiers=tuple(VERIFIED if tier.name == "verified" else tier for tier in HEALTHY.tiers))
GOOD = Facts(
    "ib-gateway",
    instance=parse(DOCUMENT, Path("/etc/ib-gateway/ib-gateway/instance.json")),
    credentials=Credentials(FileFacts(SECRETS / "login.env", 0o600), (FileFacts(SECRETS / "tws_password", 0o400),)),
    live_restore=True,
    image=ImageFacts("ib-gateway:1", present=True, id="sha256:0123456789abcdef"),
    settings=FileFacts(Path("/var/lib/ib-gateway/ib-gateway/settings"), 0o700, 1000),
    space=(Space(Path("/"), 20 * GB, 30 * GB, 1_000_000),),
    memory_available=1 << 30,
    clock=Clock("chrony", True, 0.0002),
    status=STATUS,
    outbox=Outbox(1),
)


def status(**values: object) -> Facts:
    return replace(GOOD, status=replace(STATUS, **values))  # type: ignore[arg-type]  # any field


def tier(name: str, **values: object) -> Facts:
    changed = tuple(replace(tier, **values) if tier.name == name else tier for tier in STATUS.tiers)  # type: ignore[arg-type]  # any field
    return status(tiers=changed)


def found(facts: Facts, id_: str) -> Check:
    return next(check for check in examine(facts) if check.id == id_)


CREDENTIALS = GOOD.credentials
assert CREDENTIALS is not None
BAD_PASSWORD = load("ibc").causes["bad_credentials"]
OPENING = Opening("bad_credentials", "IBKR does not accept them.", "Correct them.", AT)
ENDED = Support("10.45.1j", date(2026, 12, 15), 0, "10.50.1", None)
FAULTS: dict[str, tuple[Facts, str, str]] = {
    "no configuration": (Facts("ib-gateway", instance_error="instance.json is missing"), "configuration", "missing"),
    "no password": (replace(GOOD, credentials=replace(CREDENTIALS, password_files=())), "credentials", "no password"),
    "empty password": (
        replace(
            GOOD,
            credentials=replace(CREDENTIALS, password_files=(FileFacts(SECRETS / "tws_password", 0o400, empty=True),)),
        ),
        "credentials",
        "is empty",
    ),
    "missing user file": (
        replace(
            GOOD, credentials=replace(CREDENTIALS, user_file=FileFacts(SECRETS / "login.env", error="no such file"))
        ),
        "credentials",
        "no such file",
    ),
    "no user name": (replace(GOOD, credentials=replace(CREDENTIALS, named=False)), "credentials", "no user name"),
    "disk full": (replace(GOOD, space=(Space(Path("/"), GB // 2, 30 * GB, 1_000_000),)), "disk", "0.5 GB"),
    "no inodes": (replace(GOOD, space=(Space(Path("/"), 20 * GB, 30 * GB, 10),)), "disk", "10 inodes"),
    "no memory": (replace(GOOD, memory_available=50 << 20), "memory", "50 MB"),
    "out of memory": (status(container=replace(CONTAINER, oom_killed=True)), "memory", "out of memory"),
    "clock wrong": (replace(GOOD, clock=Clock("chrony", True, -7.5)), "clock", "-7.500 s"),
    "no engine": (status(engine=None, container=None), "engine", "no Docker engine"),
    "no image": (replace(GOOD, image=ImageFacts("ib-gateway:2", present=False)), "image", "ib-gateway:2"),
    "settings missing": (
        replace(GOOD, settings=FileFacts(Path("/settings"), error="no such file or directory")),
        "settings",
        "no such file",
    ),
    "settings of root": (replace(GOOD, settings=FileFacts(Path("/settings"), 0o700, 0)), "settings", "uid 0"),
    "no name resolves": (replace(GOOD, servers=(Server("ndc1.ibllc.com", 4000),)), "network", "no address"),
    "ports shut": (
        replace(GOOD, servers=(Server("ndc1.ibllc.com", 4000, ("127.0.0.1",), "Connection refused"),)),
        "network",
        "Connection refused",
    ),
    "breaker": (status(breaker=Breaker({"bad_credentials": 2}, AT, OPENING)), "breaker", "does not accept"),
    "no unit": (status(unit=None), "unit", "has no unit"),
    "unit failed": (status(unit=replace(UNIT, active="failed", result="exit-code")), "unit", "exit-code"),
    "unit stopped": (status(unit=replace(UNIT, active="inactive", sub="dead")), "unit", "inactive"),
    "credential file missing": (
        status(
            unit=replace(
                UNIT,
                active="activating",
                sub="auto-restart",
                cause=StartCause("credential_missing", f"missing credential file: {SECRETS}/vnc_password", "Deploy."),
            )
        ),
        "unit",
        "vnc_password",
    ),
    "version ended": (status(support=ENDED), "image", "does not log in any more"),
    "no container": (status(container=None), "container", "there is none"),
    "container ended": (status(container=replace(CONTAINER, status="exited", exit_code=1107)), "container", "1107"),
    "password refused": (
        status(login=replace(LOGIN, state=LoginState.FAILED, cause=BAD_PASSWORD)),
        "login",
        "does not accept",
    ),
    "approval awaited": (
        status(login=replace(LOGIN, state=LoginState.AWAITING_2FA, twofa_seconds_left=170)),
        "login",
        "awaiting_2fa",
    ),
    "other session": (
        status(login=replace(LOGIN, state=LoginState.FAILED, cause=load("ibc").causes["existing_session"])),
        "session",
        "session",
    ),
    "not listening": (
        tier("listening", ok=False, text="the container is starting", remedy="Wait."),
        "listening",
        "start",
    ),
    "dead API": (tier("answering", ok=False, text="nothing answers", remedy="Restart."), "answering", "nothing"),
    "not verified": (tier("verified", ok=False, text="timeout", cause="api_timeout"), "verified", "timeout"),
    "link lost": (tier("connected", ok=False, text="no connection to IBKR"), "connected", "no connection"),
}


def test_a_healthy_gateway_has_no_failure_and_no_warning() -> None:
    checks = examine(GOOD)
    assert {check.verdict for check in checks} <= {Verdict.OK, Verdict.SKIPPED}
    assert first_failure(checks) is None
    assert conclusion(checks) == "No check failed."


@pytest.mark.parametrize(("facts", "id_", "text"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_the_first_failure_and_names_itself(facts: Facts, id_: str, text: str) -> None:
    first = first_failure(examine(facts))
    assert first is not None
    assert first.id == id_
    assert text in first.found


@pytest.mark.parametrize(
    "name", [name for name in FAULTS if name not in ("no configuration", "not verified", "link lost")]
)
def test_a_fault_has_a_remedy(name: str) -> None:
    first = first_failure(examine(FAULTS[name][0]))
    assert first is not None
    assert first.remedy


def test_every_check_but_those_of_the_host_is_unknown_without_a_configuration() -> None:
    checks = examine(Facts("ib-gateway", instance_error="missing"))
    others = [check for check in checks if check.id != "configuration"]
    assert {check.verdict for check in others} <= {Verdict.UNKNOWN, Verdict.SKIPPED}


def test_an_account_of_the_wrong_kind_fails_its_own_check_after_the_connection() -> None:
    facts = tier("verified", ok=False, text="the trading mode is paper", cause="wrong_account_kind", remedy="Stop.")
    assert found(facts, "accounts").verdict is Verdict.FAILED


def test_live_without_expected_accounts_is_a_warning() -> None:
    document = {**DOCUMENT, "trading_mode": "live", "expected_accounts": []}
    document["apis"] = [{"mode": "live", "host": "127.0.0.1", "port": 4001, "native_port": 4001}]
    facts = replace(GOOD, instance=parse(document, Path("/etc/ib-gateway/ib-gateway/instance.json")))
    assert found(facts, "accounts").verdict is Verdict.WARNING


WARNINGS: dict[str, tuple[Facts, str]] = {
    "open mode": (
        replace(GOOD, credentials=replace(CREDENTIALS, user_file=FileFacts(SECRETS / "login.env", 0o644))),
        "credentials",
    ),
    "disk scarce": (replace(GOOD, space=(Space(Path("/"), 2 * GB, 30 * GB, 1_000_000),)), "disk"),
    "clock drifts": (replace(GOOD, clock=Clock("chrony", True, 2.0)), "clock"),
    "clock not synchronised": (replace(GOOD, clock=Clock("timedatectl", False)), "clock"),
    "live-restore off": (replace(GOOD, live_restore=False), "engine"),
    "one server of two": (
        replace(GOOD, servers=(Server("a", 4000, ("127.0.0.1",)), Server("b", 4000, ("127.0.0.1",), "refused"))),
        "network",
    ),
    "TLS": (replace(GOOD, servers=(Server("a", 4000, ("127.0.0.1",), tls=True, tls_error="self signed"),)), "network"),
    "a hold": (status(hold="Waiting for a person: nobody approved the login."), "breaker"),
    "yielded": (status(hold="The user is logged in elsewhere, and that session is left alone."), "session"),
    "still logging in": (status(login=replace(LOGIN, state=LoginState.LOGGING_IN)), "login"),
    "version ends soon": (status(support=replace(ENDED, days_left=16)), "image"),
    "ended version, allowed": (status(support=ENDED, support_matters=False), "image"),
    "a code is entered": (
        status(totp=True, login=replace(LOGIN, state=LoginState.AWAITING_2FA, twofa_seconds_left=170)),
        "login",
    ),
    "messages failed": (replace(GOOD, outbox=Outbox(1, failed=2)), "notifications"),
    "a wrong address": (replace(GOOD, outbox=Outbox(0, faults=("address 1 is wrong",))), "notifications"),
}


@pytest.mark.parametrize(("facts", "id_"), WARNINGS.values(), ids=WARNINGS)
def test_a_warning_is_no_failure(facts: Facts, id_: str) -> None:
    assert found(facts, id_).verdict is Verdict.WARNING
    assert first_failure(examine(facts)) is None


@pytest.mark.parametrize("facts", [GOOD, *(entry[0] for entry in FAULTS.values())])
def test_the_screen_fits_and_ends_with_the_conclusion(facts: Facts) -> None:
    checks = examine(facts)
    screen = render("ib-gateway", AT, checks)
    assert all(len(line) <= 100 for line in screen.splitlines())
    assert screen.replace("\n", " ").endswith(conclusion(checks))


def test_the_json_names_the_first_failure() -> None:
    checks = examine(FAULTS["breaker"][0])
    document = to_json("ib-gateway", AT, checks)
    assert (document["ok"], document["first_failure"]) == (False, "breaker")
    assert len(document["checks"]) == len(checks)


def test_the_titles_fit_their_column() -> None:
    titles = [check.title for check in examine(GOOD)]
    assert max(map(len, titles)) < 15


def test_nobody_is_asked_for_an_approval_while_a_code_is_entered() -> None:
    assert "IBKR Mobile" not in found(WARNINGS["a code is entered"][0], "login").remedy
