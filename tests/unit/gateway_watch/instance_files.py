"""A correct instance.json, for tests to break."""

from __future__ import annotations

from typing import Any

DOCUMENT: dict[str, Any] = {
    "name": "ib-gateway",
    "container": "ib-gateway",
    "unit": "ib-gateway.service",
    "trading_mode": "paper",
    "apis": [{"mode": "paper", "host": "127.0.0.1", "port": 4002, "native_port": 4002}],
    "vnc": {"host": "127.0.0.1", "port": 5900},
    "secrets_dir": "/etc/ib-gateway/ib-gateway/secrets",
    "state_dir": "/var/lib/ib-gateway/ib-gateway/state",
    "start_timeout": 300,
    "timezone": "America/New_York",
    "auto_restart_time": "02:00 AM",
    "cold_restart_time": "13:00",
    "twofa_timeout": 180,
    "expected_accounts": ["DU1234567"],
    "client_id": 9000,
    "max_bad_logins": 2,
    "unanswering_minutes": 5,
    "watch_client_id": 9100,
    "read_only_api": False,
    "link_lost_minutes": 15,
    "link_restart_minutes": 120,
    "twofa_pushes_per_hour": 4,
    "twofa_quiet_hours": "",
    "reminder_quiet_hours": "",
    "yield_minutes": 30,
    "totp": False,
    "soft_restart": True,
    "image": "ghcr.io/gnzsnz/ib-gateway:10.50.1f",
    "desupported_image_allowed": False,
    "login_controller": "ibc",
}
