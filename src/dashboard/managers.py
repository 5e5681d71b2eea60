"""One position manager on the page, from the status that it reports and from its journal. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from dashboard.document import Document
from ib_connection.accounts import masked
from position_manager.orders.intents import OPEN, Intent, State

KINDS: Mapping[str, str] = {
    "stop": "stop",
    "delta": "stop",
    "strike_stop": "stop",
    "trailing": "trailing",
    "breakeven": "breakeven",
    "target": "target",
    "partial_targets": "target",
}
"""What a rule is on a bar."""

LADDER = timedelta(minutes=10)
"""An order that followed the one before later than that is not the next rung of its ladder."""

_RULE = re.compile(r"(?P<name>\w+): (?P<text>.*) \((?P<origin>[^()]*(?:\([^()]*\)[^()]*)*)\)(?P<more>; done: .*)?$")


def down(name: str, why: str) -> Document:
    """A manager that does not run."""
    lists = ("accounts", "new_accounts", "halts", "degraded")
    collections = ("positions", "intents", "locks", "account_stops", "cooldowns", "exposures")
    return {
        "name": name,
        "running": False,
        "phase": "down",
        "why": why,
        **{key: [] for key in lists},
        **{key: {} for key in collections},
    }


def section(name: str, status: Mapping[str, Any]) -> Document:
    """What a running manager reports. Raises KeyError, TypeError or ValueError for what is no status."""
    at = datetime.fromisoformat(status["time"])
    return {
        "name": name,
        "running": True,
        "mode": status["mode"],
        "gateway": status.get("gateway") or None,
        "version": status["version"],
        "accounts": status["accounts"],
        "new_accounts": status.get("new_accounts", []),
        "phase": status["phase"],
        "since": status["since"],
        "why": status["why"] or None,
        "halts": status["halts"],
        "degraded": status["degraded"],
        "last_sync": status["last_sync"],
        "orders_today": status["orders_today"],
        "config": status["config"],
        "age": status["time"],
        "positions": _keyed((unit["key"], position(unit, at, status.get("open_markets"))) for unit in status["units"]),
        "intents": {intent["id"]: _open_intent(intent) for intent in status["intents"]},
        "locks": _keyed((f"{lock['account']} {lock['con_id']}", _taken(lock)) for lock in status["locks"]),
        "account_stops": _keyed((each["account"], _account_stop(each)) for each in status.get("account_stops", ())),
        "cooldowns": _keyed((f"{each['account']} {each['symbol']}", each) for each in status.get("cooldowns", ())),
        "exposures": _keyed((f"{each['account']} {each['label']}", each) for each in status.get("exposures", ())),
    }


def profit_today(status: Mapping[str, Any]) -> Document:
    """Realised today and open, by currency; a currency of which a position has no price has no open profit."""
    open_profit: dict[str, float] = {}
    unknown = set()
    for unit in status["units"]:
        currency, profit = unit["currency"], unit["profit"]
        if profit is None:
            unknown.add(currency)
        else:
            open_profit[currency] = open_profit.get(currency, 0.0) + float(profit)
    return {
        "realized": {currency: float(amount) for currency, amount in status["realized"].items()},
        "open": {name: round(amount, 6) for name, amount in open_profit.items() if name not in unknown},
    }


def position(unit: Mapping[str, Any], at: datetime, open_markets: Sequence[str] | None) -> Document:
    """A guarded unit; ``at`` is the time of the status."""
    labels = [leg["label"] for leg in unit["legs"]]
    return {
        "key": unit["key"],
        "name": unit["name"],
        "account": unit["account"],
        "group": unit["group"],
        "quantity": float(unit["quantity"]),
        "entry": float(unit["entry"]),
        "price": _number(unit["price"]),
        "profit": _number(unit["profit"]),
        "currency": unit["currency"],
        "verdict": unit["verdict"],
        "text": unit["text"],
        "market_open": None if open_markets is None else all(label in open_markets for label in labels),
        "legs": {
            str(leg["con_id"]): {
                "label": leg["label"],
                "quantity": float(leg["quantity"]),
                "bid": _number(leg["bid"]),
                "ask": _number(leg["ask"]),
                "quoted_at": None if leg["age"] is None else _quoted(at, leg["age"]),
            }
            for leg in unit["legs"]
        },
        "unprotected": {"seconds": int(unit["unprotected_seconds"]), "since": unit["unprotected_since"]},
        "rules": dict(map(_rule, unit["rules"])),
        "bars": bars(unit),
    }


def bars(unit: Mapping[str, Any]) -> Document:
    """One bar for each value that rules evaluate: its present value, the entry, and the level of each rule."""
    marks = unit.get("marks")
    if marks is None:
        # Another release reports the nearest ones only.
        marks = [mark for mark in (unit["stop"], unit["target"]) if mark is not None]
    found: Document = {}
    for mark in marks:
        own = mark["subject"] in ("bid", "ask", "price", "last", "middle")
        bar = found.setdefault(
            "price" if own else mark["subject"],
            {
                "subject": mark["subject"],
                "now": float(mark["seen"]),
                "entry": float(unit["entry"]) if own else None,
                "marks": {},
            },
        )
        rule = mark["rule"]
        number = sum(1 for other in bar["marks"].values() if other["rule"] == rule)
        bar["marks"][f"{rule} {number + 1}" if number else rule] = {
            "rule": rule,
            "kind": KINDS.get(rule, "other"),
            "level": float(mark["level"]),
            "distance": float(mark["distance"]),
            "percent": None if mark["percent"] is None else round(float(mark["percent"]), 2),
        }
    return found


def retained_bars(before: Document, price: float | None) -> Document:
    """The bars of a position of which no rule is evaluated any more: the levels remain, at the present price. Other
    values, such as a delta, are not known then."""
    return {subject: _moved(bar, price if subject == "price" else None) for subject, bar in before.items()}


def _moved(bar: Document, now: float | None) -> Document:
    marks = {}
    for name, mark in bar["marks"].items():
        distance = percent = None
        # Which side of the level closes is known from where the value was before.
        if now is not None and bar["now"] != mark["level"]:
            closes_below = (mark["distance"] > 0) is (bar["now"] > mark["level"])
            distance = round(now - mark["level"] if closes_below else mark["level"] - now, 6)
            percent = None if now == 0 else round(100 * distance / abs(now), 2)
        marks[name] = {**mark, "distance": distance, "percent": percent}
    return {**bar, "now": now, "marks": marks}


def with_ladders(intents: Document, newest: Sequence[Intent]) -> Document:
    """Open intents with the rungs before them, from the journal."""
    return {intent_id: {**intent, "ladder": ladder(newest, intent_id)} for intent_id, intent in intents.items()}


def ladder(newest: Sequence[Intent], intent_id: str) -> list[Document]:
    """The orders that lead to one, oldest first: of the same contract and rule, each soon after the one before. One
    that was filled ended the close that it belonged to."""
    present = next((intent for intent in newest if intent.id == intent_id), None)
    if present is None:
        return []
    rungs = [present]
    for intent in reversed(newest[: newest.index(present)]):
        first = rungs[0]
        if (intent.account, intent.con_id, intent.state) == (first.account, first.con_id, State.FILLED):
            break
        if (intent.account, intent.con_id, intent.rule, intent.side) != (
            first.account,
            first.con_id,
            first.rule,
            first.side,
        ):
            continue
        if first.created - intent.created > LADDER:
            break
        rungs.insert(0, intent)
    return [
        {
            "at": (rung.sent or rung.created).isoformat(),
            "limit": _sent_limit(rung),
            "state": rung.state.value,
            "filled": float(rung.filled),
        }
        for rung in rungs
    ]


def order(intent: Intent, label: str) -> Document:
    """An order of the journal."""
    bought = sum((fill.quantity for fill in intent.fills), Decimal(0))
    average = sum((fill.quantity * fill.price for fill in intent.fills), Decimal(0)) / bought if bought else None
    return {
        "id": intent.id,
        "order_id": intent.order_id or None,
        "perm_id": intent.perm_id or None,
        "account": masked(intent.account),
        "con_id": intent.con_id,
        "label": label,
        "side": intent.side.value,
        "quantity": float(intent.quantity),
        "filled": float(intent.filled),
        "limit": _sent_limit(intent),
        "stop": float(intent.stop) or None,
        "average": None if average is None else round(float(average), 6),
        "state": intent.state.value,
        "rule": intent.rule,
        "reason": intent.reason,
        "created": intent.created.isoformat(),
        "sent": None if intent.sent is None else intent.sent.isoformat(),
        "done": intent.state not in OPEN,
    }


def _sent_limit(intent: Intent) -> float | None:
    """None until it is sent: 0 is a valid price of a combination or a future."""
    return float(intent.limit) if intent.order_id else None


def _open_intent(intent: Mapping[str, Any]) -> Document:
    sent = intent["state"] != "PLANNED"
    return {
        "id": intent["id"],
        "account": intent["account"],
        "con_id": intent["con_id"],
        "label": intent["label"],
        "side": intent["side"],
        "quantity": float(intent["quantity"]),
        "filled": float(intent["filled"]),
        "limit": float(intent["limit"]) if sent else None,
        "state": intent["state"],
        "rule": intent["rule"],
        "reason": intent["reason"],
        "created": intent["created"],
    }


def _taken(lock: Mapping[str, Any]) -> Document:
    return {key: lock[key] for key in ("account", "label", "reason", "since")}


def _account_stop(account: Mapping[str, Any]) -> Document:
    return {
        "currency": account["currency"],
        "net_liquidation": _number(account["net_liquidation"]),
        "rules": {rule["rule"]: {key: rule[key] for key in ("verdict", "text", "action")} for rule in account["rules"]},
    }


def _rule(text: str) -> tuple[str, Document]:
    """A rule as the status words it: `name: wording (key in the file)`."""
    found = _RULE.match(text)
    if found is None:
        name, _, rest = text.partition(": ")
        return name, {"text": rest, "origin": ""}
    return found["name"], {"text": found["text"] + (found["more"] or ""), "origin": found["origin"]}


def _keyed(entries: Iterable[tuple[str, Document]]) -> Document:
    """By key; accounts are masked, so two may have the same one."""
    found: Document = {}
    for key, entry in entries:
        number = 1
        unique = key
        while unique in found:
            number += 1
            unique = f"{key} #{number}"
        found[unique] = entry
    return found


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _quoted(at: datetime, age: float) -> str:
    """To the second: the same quote must not seem to change."""
    return (at - timedelta(seconds=age) + timedelta(milliseconds=500)).replace(microsecond=0).isoformat()
