"""What a person who follows a login is asked for."""

from __future__ import annotations

from gateway_watch.login_wait import countdown_line


def test_an_approval_is_asked_for_only_if_no_code_is_entered() -> None:
    assert countdown_line(100) == "Approve the login in IBKR Mobile (100 s left)"
    assert (
        countdown_line(100, totp=True) == "The code of the authenticator app is entered by gateway-watch (100 s left)"
    )
