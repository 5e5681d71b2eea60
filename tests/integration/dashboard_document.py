"""A document of the dashboard with every part of it in it, at the present time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any


def now() -> datetime:
    """At each call, since a run of all tests takes long."""
    return datetime.now(UTC)


GATEWAY = "ib-gateway"
MANAGER = "position-manager"


def ago(**length: float) -> str:
    return (now() - timedelta(**length)).isoformat()


def ahead(**length: float) -> str:
    return (now() + timedelta(**length)).isoformat()


def mark(rule: str, level: float, now: float, *, kind: str = "", side: int = 1) -> dict[str, Any]:
    """A level of a rule. `side`: 1 for a position that gains when the price rises."""
    distance = round((level - now if rule == "target" else now - level) * side, 4)
    percent = round(100 * distance / abs(now), 1)
    return {"rule": rule, "kind": kind or rule, "level": level, "distance": distance, "percent": percent}


def position(name: str, quantity: float, entry: float, price: float, **levels: float) -> dict[str, Any]:
    side = 1 if quantity > 0 else -1
    return {
        "key": f"DU***67 {name}",
        "name": name,
        "account": "DU***67",
        "quantity": quantity,
        "entry": entry,
        "price": price,
        "profit": round((price - entry) * quantity, 2),
        "currency": "USD",
        "verdict": "guarded",
        "text": "",
        "legs": {str(sum(name.encode())): leg(name, quantity, price)},
        "market_open": True,
        "unprotected": {"seconds": 0},
        "rules": {rule: {"text": f"price {level}", "origin": "defaults"} for rule, level in levels.items()},
        "bars": {"price": bar(price, entry, side, levels)},
    }


def leg(label: str, quantity: float, price: float) -> dict[str, Any]:
    return {
        "label": label,
        "quantity": quantity,
        "bid": price - 0.02,
        "ask": price + 0.02,
        "quoted_at": ago(seconds=1),
    }


def bar(price: float, entry: float, side: int, levels: dict[str, float]) -> dict[str, Any]:
    marks = {rule: mark(rule, level, price, side=side) for rule, level in levels.items()}
    return {"subject": "price", "now": price, "entry": entry, "marks": marks}


def order(number: int, label: str, state: str, filled: float, **more: Any) -> dict[str, Any]:
    return {
        "id": f"01KB00000000000000000000{number:02}",
        "account": "DU***67",
        "con_id": sum(label.encode()),
        "label": label,
        "side": "SELL",
        "quantity": 100,
        "filled": filled,
        "limit": 409.86,
        "state": state,
        "rule": "stop",
        "reason": "",
        "created": ago(minutes=30 - number),
        "done": state != "WORKING",
    } | more


def gateway() -> dict[str, Any]:
    return {
        "name": GATEWAY,
        "mode": "paper",
        "unit": "ib-gateway.service",
        "timezone": "America/New_York",
        "image": "ghcr.io/gnzsnz/ib-gateway:10.45.1e",
        "state": "ready",
        "text": "ready",
        "since": ago(hours=8),
        "login": {"state": "ready", "needs_person": False, "text": "logged in; the API accepts clients"},
        "tiers": {
            "listening": {"ok": True, "text": "the container is healthy"},
            "answering": {"ok": True, "text": "the API answers"},
            "verified": {"ok": True, "text": "the API session is open"},
            "connected": {"ok": True, "text": "connected to IBKR"},
        },
        "link": {"state": "connected", "since": ago(hours=8), "text": "connected to IBKR"},
        "session": {"since": ago(days=2), "twofa": True, "end": ahead(days=5)},
        "next_restart": {"at": ahead(hours=15, seconds=30), "kind": "daily_restart"},
        "next_approval": ahead(days=6, seconds=30),
        "automatic_codes": False,
        "support": {
            "version": "10.45.1e",
            "desupported_on": "2026-12-20",
            "days_left": 20,
            "over": False,
            "text": "IB ends IB Gateway 10.45.1e on 2026-12-20, in 20 days.",
            "remedy": "Set ib_gateway_image to version 10.47 or later, and deploy.",
        },
        "breaker": {"open": False, "refusals": {"bad_credentials": 1}, "limit": 3},
        "history": [
            {"from": ago(days=6), "state": "ready"},
            {"from": ago(days=5), "state": "link_lost"},
            {"from": ago(days=4.8), "state": "ready"},
            {"from": ago(days=3), "state": "down"},
            {"from": ago(days=2.8), "state": "restart"},
            {"from": ago(days=2.7), "state": "approval"},
            {"from": ago(days=2.5), "state": "ready"},
        ],
        "screen": True,
    }


def manager() -> dict[str, Any]:
    msft = position("MSFT", 100, 421.35, 418.0, stop=410.83, breakeven=421.35, target=446.63)
    return {
        "name": MANAGER,
        "mode": "paper",
        "unit": "position-manager.service",
        "gateway": GATEWAY,
        "running": True,
        "version": "0.1.0",
        "accounts": ["DU***67"],
        "phase": "READY",
        "since": ago(hours=8),
        "halts": [],
        "degraded": [],
        "orders_today": 2,
        "age": ago(seconds=1),
        "profit": {"revision": 1, "realized": {"USD": 412.5, "EUR": -18.2}, "open": {"USD": -655.0}},
        "positions": {
            "DU***67 MSFT": msft,
            "DU***67 SAP": position("SAP", -20, 231.0, 229.0, stop=237.93, target=219.45),
        },
        "intents": {},
        "orders": {
            "01KB0000000000000000000002": order(2, "NVDA", "FILLED", 100, average=182.43, rule="target"),
            "01KB0000000000000000000001": order(1, "NVDA", "CANCELLED", 0),
        },
        "locks": {
            "1": {"account": "DU***67", "label": "NVDA", "reason": "another client traded it", "since": ago(hours=1)}
        },
        "account_stops": {
            "DU***67": {
                "currency": "USD",
                "rules": {"daily_loss": {"verdict": "guarded", "text": "251340 is above 245000", "action": "close"}},
            }
        },
        "cooldowns": {},
        "exposures": {},
    }


def document() -> dict[str, Any]:
    return {
        "schema": 1,
        "revision": 1,
        "at": now().isoformat(),
        "host": "gateway-1",
        "release": "0.1.0",
        "exchange_zone": "America/New_York",
        "notes": {},
        "gateways": {GATEWAY: gateway()},
        "managers": {MANAGER: manager()},
        "notifications": {
            MANAGER: {
                "source": MANAGER,
                "pending": 1,
                "failed": 0,
                "items": {
                    "41": {
                        "at": ago(minutes=1),
                        "severity": "alert",
                        "title": "NVDA closed: 100 at 182.43",
                        "lines": ["target: NVDA 182.43 is at or above 182.40"],
                        "states": {"discord": "queued", "ntfy": "sent"},
                    }
                },
            }
        },
        "logs": {"ib-gateway.service": {"label": GATEWAY}, "position-manager.service": {"label": MANAGER}},
    }


def closing() -> dict[str, Any]:
    """The patch with which MSFT reaches its stop and its close has tried three prices."""
    passed = bar(409.9, 421.35, 1, {"stop": 410.83, "breakeven": 421.35, "target": 446.63})
    text = "stop: MSFT 409.90 is at or below 410.83"
    intent = order(3, "MSFT", "WORKING", 40, limit=409.86)
    states = [(409.9, "CANCELLED", 0), (409.88, "CANCELLED", 0), (409.86, "WORKING", 40)]
    ladder = [
        {"at": ago(seconds=15 - 5 * rung), "limit": limit, "state": state, "filled": filled}
        for rung, (limit, state, filled) in enumerate(states)
    ]
    changed = {"verdict": "closing", "text": text, "price": 409.9, "profit": -1145.0, "bars": {"price": passed}}
    return {
        "managers": {
            MANAGER: {
                "positions": {"DU***67 MSFT": changed},
                "intents": {intent["id"]: intent | {"ladder": ladder}},
                "orders": {intent["id"]: intent},
            }
        }
    }


def profit() -> dict[str, Any]:
    minute = int(now().timestamp()) // 60 * 60
    day = [[minute - 60 * (120 - number), round(((number * 37) % 90) - 40 + number, 2)] for number in range(120)]
    days, total = [], 0.0
    for number in range(20):
        gain = ((number * 53) % 300) - 110.0
        total += gain
        days.append([(now() - timedelta(days=28 - 1.4 * number)).date().isoformat(), gain, total])
    return {
        "manager": MANAGER,
        "zone": "America/New_York",
        "day": {"date": now().date().isoformat(), "currencies": {"USD": day}},
        "days": {"USD": days},
    }


def logs() -> dict[str, Any]:
    lines = [
        {"at": ago(minutes=2), "priority": 6, "text": "position manager running"},
        {"at": ago(minutes=1), "priority": 4, "text": "no quote of MSFT"},
        {"at": ago(seconds=5), "priority": 3, "text": "the broker rejected an order"},
    ]
    return {"source": "position-manager.service", "lines": lines}
