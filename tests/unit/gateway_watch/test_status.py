"""The status screen and its next step."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import pytest
from tests.unit.gateway_watch.status_sample import AT, CONTAINER, LOGIN, UNIT
from tests.unit.gateway_watch.status_sample import HEALTHY as GOOD

from gateway_watch.breaker import Breaker, Opening
from gateway_watch.gateway_versions import support
from gateway_watch.login import LoginState
from gateway_watch.signatures import load
from gateway_watch.status import Status, next_step, render, to_json
from gateway_watch.tiers import Tier
from host_service.backup_record import Overview
from host_service.firing_alerts import FiringAlerts
from unit_recovery.causes import StartCause

OPEN = replace(
    GOOD,
    breaker=Breaker(
        {"bad_credentials": 2}, AT, Opening("bad_credentials", "IBKR does not accept them.", "Correct them.", AT)
    ),
    container=None,
    login=None,
    unit=replace(UNIT, active="failed", sub="failed"),
    tiers=(
        Tier("listening", False, "there is no container", "no_such_container", "Start the unit that creates it."),
        Tier("answering", False, "paper 127.0.0.1:4002 nothing listens on the port", "refused", "Look."),
        Tier("verified", None, "not asked: the API does not answer"),
        Tier("connected", None, "not asked: the API does not answer"),
    ),
)


def test_a_gateway_in_order_fits_one_screen_and_has_no_next_step() -> None:
    screen = render(GOOD)
    lines = screen.splitlines()
    assert len(lines) <= 30
    assert lines[0].startswith("ib-gateway (paper): in order")
    assert "Host        up 1 d 1 h, Docker 20.10.24" in lines
    assert "Container   running, healthy, since Mon 2026-11-23 10:00 UTC (2 h 0 min ago)" in lines
    assert "Restart     daily: Tuesday 02:00, in 19 h 0 min (2026-11-24, America/New_York)" in lines
    assert "Session end Sun 2026-11-29 01:00 EST (in 5 d 18 h)" in lines
    assert any(
        line.startswith("Session     since Sun 2026-11-22 12:00 UTC (1 d 0 h ago) approved by 2FA") for line in lines
    )
    assert "Connected   yes: connected to IBKR, since 2026-11-23 18:00:00 UTC" in lines
    assert "Next step" not in screen


@pytest.mark.parametrize(
    ("twofa", "totp", "text", "moment"),
    [
        (
            True,
            False,
            "next approval needed: Sunday 13:00, in 6 d 6 h (2026-11-29, America/New_York)",
            "2026-11-29T13:00:00-05:00",
        ),
        (False, True, "none needed: the codes of the authenticator app are entered", None),
        (False, False, "none needed: the login has no second factor", None),
        (None, False, "unknown before a login", None),
        # The codes were refused, and a person approved the last login.
        (
            True,
            True,
            "next approval needed: Sunday 13:00, in 6 d 6 h (2026-11-29, America/New_York)",
            "2026-11-29T13:00:00-05:00",
        ),
    ],
)
def test_the_next_approval_is_shown(twofa: bool | None, totp: bool, text: str, moment: str | None) -> None:
    status = replace(GOOD, session=replace(GOOD.session, twofa=twofa), totp=totp)
    assert f"Approval    {text}" in render(status).splitlines()
    assert to_json(status)["next_approval"] == moment


def test_nobody_is_asked_to_approve_what_the_codes_answer() -> None:
    waits = replace(GOOD, login=replace(LOGIN, state=LoginState.AWAITING_2FA, twofa_seconds_left=100))
    assert "Approve the login in IBKR Mobile (100 s left)" in str(next_step(waits))
    assert "IBKR Mobile" not in str(next_step(replace(waits, totp=True)))


def test_an_open_breaker_ends_the_screen_with_its_remedy() -> None:
    lines = render(OPEN).splitlines()
    assert lines[0].startswith("ib-gateway (paper): NOT IN ORDER")
    assert any(line.startswith("Breaker     OPEN since Mon 2026-11-23 12:00 UTC") for line in lines)
    rest = " ".join(line[12:] for line in lines[lines.index("") + 1 :])
    assert rest == (
        "Correct them. If nothing has to be changed: "
        "gateway-watch reset --instance ib-gateway && systemctl start ib-gateway.service"
    )


def test_the_screen_stays_one_screen_whatever_is_shown() -> None:
    long = "very long words " * 200
    lines = render(
        replace(
            OPEN,
            unit=replace(UNIT, status_text=long),
            login=replace(LOGIN, text=long),
            tiers=tuple(replace(tier, text=long) for tier in OPEN.tiers),
            faults=(long,),
        )
    ).splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 100


TWOFA = replace(LOGIN, state=LoginState.AWAITING_2FA, twofa_seconds_left=172)
DOWN = replace(LOGIN, state=LoginState.RESTARTING, cause=load().causes["server_down"])


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (GOOD, None),
        (replace(GOOD, faults=("No Docker engine answers.",)), "No Docker engine answers."),
        (
            replace(GOOD, unit=replace(UNIT, active="inactive")),
            "The unit is stopped: systemctl start ib-gateway.service",
        ),
        (replace(GOOD, hold="Waiting for a person.", login=None), "Waiting for a person."),
        (replace(GOOD, login=TWOFA), "Approve the login in IBKR Mobile (172 s left)."),
        (replace(GOOD, login=DOWN), load().causes["server_down"].remedy),
        (replace(OPEN, breaker=Breaker(), unit=UNIT, container=CONTAINER), "Start the unit that creates it."),
    ],
)
def test_the_next_step(status: Status, step: str | None) -> None:
    assert next_step(status) == step


def test_the_json_is_json_and_holds_no_identity() -> None:
    text = json.dumps([to_json(GOOD), to_json(OPEN)])
    good, opened = json.loads(text)
    assert (good["ok"], opened["ok"]) == (True, False)
    assert good["tiers"]["answering"]["ok"] is True
    assert (opened["breaker"]["open"], opened["breaker"]["cause"]) == (True, "bad_credentials")
    assert opened["container"] is None
    assert good["login"]["state"] == "ready"
    assert "edmund77" not in text


def test_the_last_upgrade_is_shown() -> None:
    line = "upgrade 2026-11-28 15:30 UTC, verified after 35 s (ib-gateway: image:1 -> image:2)"
    assert f"Upgrade     {line}" in render(replace(GOOD, last_upgrade=line)).splitlines()
    assert to_json(replace(GOOD, last_upgrade=line))["last_upgrade"] == line
    assert "Upgrade" not in render(GOOD)


def test_a_version_that_ends_is_shown_and_is_a_fault_once_it_has_ended() -> None:
    old = "ghcr.io/gnzsnz/ib-gateway:10.45.1j"
    near = replace(GOOD, support=support(old, date(2026, 11, 29)))
    assert near.ok
    assert "IB ends IB Gateway 10.45.1j on 2026-12-15" in " ".join(render(near).split())
    assert "Set ib_gateway_image" in str(next_step(near))
    over = replace(GOOD, support=support(old, date(2026, 12, 15)))
    assert not over.ok
    assert to_json(over)["support"] == {
        "version": "10.45.1j",
        "desupported_on": "2026-12-15",
        "days_left": 0,
        "over": True,
    }
    assert replace(over, support_matters=False).ok
    assert to_json(GOOD)["support"] is None


def test_a_unit_that_cannot_start_is_named_with_what_is_missing() -> None:
    cause = StartCause("credential_missing", "missing credential file: /x", "Run ansible-playbook site.yml.")
    for active, sub in (("failed", "failed"), ("activating", "auto-restart")):
        status = replace(GOOD, unit=replace(UNIT, active=active, sub=sub, status_text="", cause=cause))
        assert str(next_step(status)).startswith("credential_missing: missing credential file: /x.")
        assert "credential_missing" in render(status)


def test_the_last_backup_of_the_host_is_shown() -> None:
    backup = Overview(
        "2026-11-23 08:15 UTC (3 h ago), 96 KB, /backups/a.age", {"last_backup": "2026-11-23T08:15:00+00:00"}
    )
    status = replace(GOOD, backup=backup)
    assert "Last backup 2026-11-23 08:15 UTC (3 h ago), 96 KB, /backups/a.age" in render(status).splitlines()
    assert to_json(status)["backup"] == {"last_backup": "2026-11-23T08:15:00+00:00"}
    assert len(render(status).splitlines()) <= 30


def test_the_alerts_that_fire_are_a_row_of_a_host_with_monitoring() -> None:
    assert "Alerts" not in render(GOOD)
    assert to_json(GOOD)["alerts"] is None
    firing = replace(GOOD, alerts=FiringAlerts((("IbkrLinkLost", "critical"), ("ApprovalAwaited", "warning"))))
    assert "Alerts      2 firing: IbkrLinkLost (critical), ApprovalAwaited (warning)" in render(firing).splitlines()
    assert to_json(firing)["alerts"]["firing"][0] == {"name": "IbkrLinkLost", "severity": "critical"}
    assert "Alerts      none firing" in render(replace(GOOD, alerts=FiringAlerts(()))).splitlines()
