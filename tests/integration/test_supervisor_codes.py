"""What `gateway-watch run` does about the second factor with an authenticator app's secret: a real engine."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from tests.integration.supervised import (
    ATTEMPT,
    DONE,
    LISTEN,
    LOGIN,
    STAMP,
    START,
    STAY,
    TWOFA,
    WEDNESDAY,
    Gateway,
    MakeGateway,
    notify,
    prints,
    script,
)
from tests.unit.notifications.webhook import Webhook

from gateway_watch import code_ledger
from gateway_watch.code_ledger import Ledger

CLOSED = STAMP + "detected dialog entitled: Second Factor Authentication; event=Closed"
BEFORE = WEDNESDAY - timedelta(hours=3)


def with_secret(make: MakeGateway, ledger: Ledger) -> tuple[Gateway, Path]:
    """A gateway with a secret that was there before the codes of the ledger were typed; nothing listens for VNC."""
    gateway: Gateway = make(totp=True, vnc={"host": "127.0.0.1", "port": 1})
    secret = gateway.secrets / "totp_secret"
    secret.write_text("gezd gnbv gy3t qojq\n")
    (gateway.secrets / "vnc_password").write_text("secret12")
    long_ago = (WEDNESDAY - timedelta(days=30)).timestamp()
    os.utime(secret, (long_ago, long_ago))
    file = gateway.state / "second-factor.json"
    code_ledger.write(file, ledger)
    return gateway, file


def test_two_refused_codes_lead_to_a_message_and_leave_the_breaker_alone(make: MakeGateway) -> None:
    refused = Ledger().with_typed(BEFORE).with_refused().with_typed(BEFORE + timedelta(minutes=1)).with_refused()
    with Webhook() as server:
        gateway, file = with_secret(make, refused)
        notify(gateway, server)
        gateway.create(script(prints(START, *LOGIN, *ATTEMPT, *TWOFA), STAY))
        process = gateway.start()
        server.wait(lambda: any("second factor needs a person" in post.json["title"] for post in server.taken), 60)
        assert gateway.running(), "the dialog is left open"
        status, output = gateway.terminate(process)
    assert status == 0
    assert "is typed" not in output
    assert code_ledger.read(file, WEDNESDAY) == refused
    assert not (gateway.state / "breaker.json").exists()


def test_a_login_ends_the_count_and_needs_no_person_the_next_time(make: MakeGateway) -> None:
    typed = Ledger().with_typed(BEFORE).with_refused()
    with Webhook() as server:
        gateway, file = with_secret(make, typed)
        notify(gateway, server)
        gateway.create(script(prints(START, *LOGIN, *ATTEMPT, *TWOFA, CLOSED, *DONE), LISTEN, STAY))
        process = gateway.start()
        gateway.systemd.wait_ready()
        _, output = gateway.terminate(process)
    assert code_ledger.read(file, WEDNESDAY) == typed.logged_in()
    assert gateway.session()["twofa"] is False
    assert "the code of the authenticator app is entered by gateway-watch" in output
    assert "approve the login in IBKR Mobile" not in str([post.json for post in server.taken])
