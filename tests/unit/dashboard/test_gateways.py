"""A gateway on the page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.gateway_watch.instance_files import DOCUMENT

from dashboard.gateways import Facts, Unit, section, tiers, word_of
from dashboard.history import Strip, Word
from gateway_watch.breaker import Breaker
from gateway_watch.instance import parse
from gateway_watch.session import Session
from host_service.gateway_login import GatewayLogin, IbkrLink

NOW = datetime(2026, 11, 30, 15, 0, tzinfo=UTC)
CONNECTED = IbkrLink("connected", NOW, "connected to IBKR")
LOST = IbkrLink("lost", NOW, "not connected to IBKR (1100)")
RUNNING = Unit("active", "running", "success", "ready")
FACTS = Facts(
    instance=parse(DOCUMENT, Path("/etc/ib-gateway/ib-gateway/instance.json")),
    login=GatewayLogin("ready", False, "logged in", CONNECTED),
    unit=RUNNING,
    breaker=Breaker(),
    session=Session(since=NOW - timedelta(days=1), twofa=True, last_restart=NOW - timedelta(hours=8)),
    screen=True,
)


@pytest.mark.parametrize(
    ("login", "unit", "word"),
    [
        (GatewayLogin("ready", False, "", CONNECTED), RUNNING, Word.READY),
        (GatewayLogin("ready", False, "", None), RUNNING, Word.READY),
        (GatewayLogin("ready", False, "", LOST), RUNNING, Word.LINK_LOST),
        (GatewayLogin("link_lost", False, "", None), RUNNING, Word.LINK_LOST),
        (GatewayLogin("awaiting_2fa", True, ""), RUNNING, Word.APPROVAL),
        (GatewayLogin("awaiting_2fa", False, "the code is entered"), RUNNING, Word.RESTART),
        (GatewayLogin("waiting", True, "quiet hours"), RUNNING, Word.APPROVAL),
        (GatewayLogin("logging_in", False, ""), RUNNING, Word.RESTART),
        (GatewayLogin("failed", True, ""), RUNNING, Word.DOWN),
        (GatewayLogin("blocked", True, ""), RUNNING, Word.DOWN),
        (None, replace(RUNNING, active="activating"), Word.RESTART),
        (None, replace(RUNNING, active="failed"), Word.DOWN),
        (None, replace(RUNNING, active="inactive"), Word.DOWN),
        (None, None, Word.UNKNOWN),
    ],
)
def test_the_state_in_the_strip(login: GatewayLogin | None, unit: Unit | None, word: Word) -> None:
    assert word_of(login, unit) is word


def test_a_gateway_in_good_health() -> None:
    strip = Strip().with_state(Word.READY, NOW - timedelta(hours=8))
    found = section(FACTS, strip, NOW)
    assert (found["state"], found["since"], found["text"]) == ("ready", strip.entries[0].at.isoformat(), "logged in")
    assert {name: tier["ok"] for name, tier in found["tiers"].items()} == dict.fromkeys(
        ("listening", "answering", "verified", "connected"), True
    )
    # 2 a.m. of the next day in New York, and the planned restart of the next Sunday.
    assert found["next_restart"] == {"at": "2026-12-01T02:00:00-05:00", "kind": "daily_restart"}
    assert found["next_approval"] == "2026-12-06T13:00:00-05:00"
    assert found["breaker"]["open"] is False


def test_no_approval_is_announced_that_nobody_must_give() -> None:
    assert section(replace(FACTS, session=Session(twofa=False)), Strip(), NOW)["next_approval"] is None


def test_an_open_breaker_is_what_a_gateway_that_is_down_is_about() -> None:
    opened = Breaker({"bad_credentials": 3}, NOW).opened("bad_credentials", "Refused thrice.", "Correct it.", NOW)
    found = section(replace(FACTS, login=None, unit=replace(RUNNING, active="failed"), breaker=opened), Strip(), NOW)
    assert (found["state"], found["text"]) == ("down", "Refused thrice. Correct it.")
    assert found["breaker"] == {
        "open": True,
        "refusals": {"bad_credentials": 3},
        "limit": FACTS.instance.max_bad_logins,
        "since": NOW.isoformat(),
        "cause": "bad_credentials",
        "text": "Refused thrice.",
        "remedy": "Correct it.",
    }


def test_a_lost_link_leaves_the_tiers_below_it() -> None:
    found = tiers(GatewayLogin("ready", False, "", LOST))
    assert [found[name]["ok"] for name in ("listening", "answering", "verified", "connected")] == [True] * 3 + [False]


def test_before_the_login_nothing_is_claimed_of_the_api() -> None:
    found = tiers(GatewayLogin("logging_in", False, "", None))
    assert found["listening"] == {"ok": False, "text": "the login is logging in"}
    assert all("ok" not in found[name] for name in ("answering", "verified", "connected"))


def test_the_end_of_support_is_shown_once_it_is_near() -> None:
    old = parse(
        DOCUMENT | {"image": "ghcr.io/gnzsnz/ib-gateway:10.19.2"}, Path("/etc/ib-gateway/ib-gateway/instance.json")
    )
    support = section(replace(FACTS, instance=old), Strip(), NOW)["support"]
    assert support["days_left"] > 0 and "10.19.2" in support["text"]
