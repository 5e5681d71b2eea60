"""Messages as embeds within Discord's limits (https://discord.com/developers/docs/resources/message)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from notifications.discord import Embed, embeds
from notifications.message import Message, Severity

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def shown(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def size(embed: Embed) -> int:
    fields = embed.get("fields", [])
    texts = [
        embed["title"],
        embed.get("description", ""),
        *(entry[key] for entry in fields for key in ("name", "value")),
    ]
    return sum(len(text) for text in texts)


def test_a_short_message_is_one_post() -> None:
    message = Message("kind", Severity.ALERT, "Down", NOW, ("first", "second"), (("Instance", "main"),))
    assert embeds(message) == [
        {
            "title": "Down",
            "description": "first\nsecond",
            "fields": [{"name": "Instance", "value": "main", "inline": True}],
            "color": 0xED4245,
            "timestamp": "2026-11-23T12:00:00+00:00",
        }
    ]


def test_a_masked_account_is_shown_as_it_is() -> None:
    (embed,) = embeds(Message("kind", Severity.INFO, "DU1234567", NOW, ("DU1234567 and U7654321",)))
    assert embed["title"] == r"DU\*\*\*\*\*67"
    assert shown(embed["description"]) == "DU*****67 and U7****21"


_long = st.text(st.sampled_from("ab*_\\\n `"), min_size=1, max_size=5000).filter(lambda text: bool(text.strip()))


@given(_long, st.lists(_long, max_size=4), st.lists(st.tuples(_long, _long), max_size=60))
def test_no_post_is_above_a_limit_and_no_line_is_lost(
    title: str, lines: list[str], fields: list[tuple[str, str]]
) -> None:
    message = Message("kind", Severity.INFO, title, NOW, tuple(lines), tuple(fields))
    found = embeds(message)
    for embed in found:
        assert 1 <= len(embed["title"]) <= 256
        assert len(embed.get("description", "")) <= 2000
        assert len(embed.get("fields", [])) <= 25
        assert all(1 <= len(entry["name"]) <= 256 for entry in embed.get("fields", []))
        assert all(1 <= len(entry["value"]) <= 1024 for entry in embed.get("fields", []))
        assert size(embed) <= 6000
    text = "".join(shown(embed.get("description", "")) for embed in found)
    assert "".join(text.split()) == "".join("".join(lines).split())
    values = "".join(shown(entry["value"]) for embed in found for entry in embed.get("fields", []))
    assert "".join(values.split()) == "".join("".join(value for _, value in fields).split())


def test_parts_state_which_they_are() -> None:
    message = Message("kind", Severity.INFO, "Long", NOW, ("x" * 4500,))
    assert [embed["title"] for embed in embeds(message)] == ["Long (1/3)", "Long (2/3)", "Long (3/3)"]
