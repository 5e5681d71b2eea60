"""What a message shows, and what it never shows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications.message import Message, Severity, clean

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("account DU1234567 is off", "account DU*****67 is off"),
        ("U1234567,DF7654321", "U1****67,DF*****21"),
        ("key_U1234567", "key_U1****67"),
        ("AAPL  241220C00150000 at 12345.67", "AAPL  241220C00150000 at 12345.67"),
        ("sent to https://discord.com/api/webhooks/123/abc-DEF_x now", "sent to (address of a webhook) now"),
        ("https://ptb.discord.com/api/v10/webhooks/1/tok?wait=1", "(address of a webhook)"),
    ],
)
def test_shows_no_account_number_and_no_webhook(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_cleans_every_text_it_takes() -> None:
    message = Message("x", Severity.INFO, "U1234567", NOW, ("in U1234567",), (("U1234567", "U1234567"),))
    assert "U1234567" not in f"{message!r}{message.text()}{message.to_json()}{message.with_line('U1234567')!r}"


_texts = st.text(st.characters(codec="utf-8"), max_size=60)


@given(_texts.filter(lambda text: bool(text.strip())), st.lists(_texts), st.lists(st.tuples(_texts, _texts)), _texts)
def test_comes_back_from_disk_as_it_was(title: str, lines: list[str], fields: list[tuple[str, str]], key: str) -> None:
    message = Message("kind", Severity.ALERT, title, NOW, tuple(lines), tuple(fields), key, key, Path("/a/b.png"))
    assert Message.from_json(message.to_json()) == message


def test_refuses_a_time_without_zone_and_an_empty_title() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Message("kind", Severity.INFO, "Title", datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="no title"):
        Message("kind", Severity.INFO, " ", NOW)
