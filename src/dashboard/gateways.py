"""One gateway on the page, from the files of its gateway-watch. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from dashboard.document import Document
from dashboard.history import Strip, Word
from gateway_watch import gateway_versions
from gateway_watch.breaker import Breaker
from gateway_watch.ibkr_link import LinkState
from gateway_watch.instance import Instance
from gateway_watch.session import Session
from gateway_watch.signatures import LoginState
from host_service.gateway_login import GatewayLogin

WAITING = "waiting"
"""The published state of a login that is not tried before a person acts."""

_APPROVAL = frozenset({LoginState.AWAITING_2FA.value, WAITING})
_DOWN = frozenset({LoginState.FAILED.value, LoginState.BLOCKED.value})


@dataclass(frozen=True)
class Unit:
    """What systemd reports of a service."""

    active: str
    sub: str
    result: str
    text: str


@dataclass(frozen=True)
class Facts:
    """What is known of a gateway. None: there is no such file, or systemd could not be asked."""

    instance: Instance
    login: GatewayLogin | None
    unit: Unit | None
    breaker: Breaker | None
    session: Session
    screen: bool


def word_of(login: GatewayLogin | None, unit: Unit | None) -> Word:
    """The state of a gateway in the strip."""
    if login is None:
        if unit is None:
            return Word.UNKNOWN
        return Word.DOWN if unit.active in ("inactive", "failed") else Word.RESTART
    if login.state in _DOWN:
        return Word.DOWN
    if login.state in _APPROVAL and login.needs_person:
        return Word.APPROVAL
    if login.state == LoginState.LINK_LOST:
        return Word.LINK_LOST
    if login.state == LoginState.READY:
        lost = login.ibkr is not None and login.ibkr.state == LinkState.LOST
        return Word.LINK_LOST if lost else Word.READY
    return Word.RESTART


def section(facts: Facts, strip: Strip, now: datetime) -> Document:
    """The gateway's part of the document."""
    instance, login, unit, session = facts.instance, facts.login, facts.unit, facts.session
    word = word_of(login, unit)
    calendar = instance.calendar
    restart = calendar.next_restart(now)
    since = strip.entries[-1].at if strip.entries and strip.entries[-1].word is word else None
    return {
        "name": instance.name,
        "mode": instance.trading_mode,
        "unit": instance.unit,
        "timezone": instance.timezone.key,
        "image": instance.image,
        "controller": instance.login_controller,
        "state": word.value,
        "text": _text(login, unit, facts.breaker),
        "since": _iso(since),
        "unit_state": None if unit is None else {"active": unit.active, "sub": unit.sub, "result": unit.result},
        "login": None
        if login is None
        else {"state": login.state, "needs_person": login.needs_person, "text": login.text},
        "tiers": tiers(login),
        "link": _link(login),
        "session": {
            "since": _iso(session.since),
            "twofa": session.twofa,
            "last_restart": _iso(session.last_restart),
            "last_cause": session.last_cause,
            "end": calendar.next_session_end(now).isoformat(),
        },
        "next_restart": None if restart is None else {"at": restart[0].isoformat(), "kind": restart[1].value},
        "next_approval": calendar.next_full_login(now).isoformat() if session.twofa else None,
        "automatic_codes": instance.totp,
        "support": _support(instance, now),
        "breaker": _breaker(facts.breaker, instance.max_bad_logins),
        "history": strip.shown(now),
        "screen": facts.screen,
    }


def tiers(login: GatewayLogin | None) -> Document:
    """The tiers as gateway-watch knows them: its own API session proves the first three."""
    if login is None:
        text = "gateway-watch does not run"
        return {name: {"text": text} for name in ("listening", "answering", "verified", "connected")}
    link = login.ibkr
    if link is not None and link.state in (LinkState.CONNECTED, LinkState.LOST):
        session: Document = {"ok": True, "text": "gateway-watch has a session with the API"}
        connected: Document = {"ok": link.state == LinkState.CONNECTED, "text": link.text}
        return {"listening": session, "answering": session, "verified": session, "connected": connected}
    if login.state == LoginState.READY:
        unknown = {"text": link.text if link is not None else "not known"}
        listening = {"ok": True, "text": "logged in and listening"}
        return {"listening": listening, "answering": unknown, "verified": unknown, "connected": unknown}
    later = {"text": "not before the login"}
    first = {"ok": False, "text": f"the login is {login.state.replace('_', ' ')}"}
    return {"listening": first, "answering": later, "verified": later, "connected": later}


def _text(login: GatewayLogin | None, unit: Unit | None, breaker: Breaker | None) -> str:
    if login is not None:
        return login.text
    if breaker is not None and breaker.opening is not None:
        return f"{breaker.opening.text} {breaker.opening.remedy}"
    if unit is None:
        return "nothing is known: gateway-watch does not run, and systemd could not be asked"
    return unit.text or f"the service is {unit.active} ({unit.sub})"


def _link(login: GatewayLogin | None) -> Document:
    if login is None or login.ibkr is None:
        return {"state": LinkState.UNKNOWN.value, "text": "not known"}
    return {"state": login.ibkr.state, "since": _iso(login.ibkr.since), "text": login.ibkr.text}


def _support(instance: Instance, now: datetime) -> Document | None:
    support = gateway_versions.support(instance.image, now.date())
    if support is None:
        return None
    return {
        "version": support.version,
        "desupported_on": support.desupported_on.isoformat(),
        "days_left": support.days_left,
        "over": support.over,
        "text": support.text,
        "remedy": support.remedy,
    }


def _breaker(breaker: Breaker | None, limit: int) -> Document | None:
    if breaker is None:
        return None
    opening: dict[str, Any] = {} if breaker.opening is None else asdict(breaker.opening)
    opening.pop("at", None)
    return {
        "open": breaker.opening is not None,
        "refusals": dict(breaker.refusals),
        "limit": limit,
        "since": _iso(breaker.since),
        **opening,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
