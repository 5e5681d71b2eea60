"""Messages about the session itself, its user, and the notices that every client receives."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway_simulator.api.messages.blocks import ascii7, epoch
from gateway_simulator.api.wire import encode_frame
from gateway_simulator.clock import gateway_time
from gateway_simulator.trading.model import Bulletin

_NEWS_PROVIDERS = (
    ("BRFG", "Briefing.com General Market Columns"),
    ("BRFUPDN", "Briefing.com Analyst Actions"),
    ("DJNL", "Dow Jones Newsletters"),
)
"""The providers that every user may read without a subscription."""


def version_answer(server_version: int, moment: datetime) -> bytes:
    """The handshake's answer: the version both will use and the time, without a message id."""
    return encode_frame([server_version, gateway_time(moment)])


def error(request_id: int, code: int, text: str, *, handshake_done: bool = True) -> bytes:
    """An error or system message; ``request_id`` is -1 for those that belong to no request.

    Before the handshake no version is agreed on, so the oldest layout is used, which lacks the
    field for an advanced order reject.
    """
    return encode_frame([4, 2, request_id, code, ascii7(text), *([""] if handshake_done else [])])


def managed_accounts(accounts: Sequence[str]) -> bytes:
    """The accounts of this session."""
    return encode_frame([15, 1, ",".join(accounts)])


def next_valid_id(order_id: int) -> bytes:
    """The first order id the client may use."""
    return encode_frame([9, 1, order_id])


def current_time(moment: datetime) -> bytes:
    """The server's time in seconds since 1970."""
    return encode_frame([49, 1, epoch(moment)])


def current_time_in_millis(moment: datetime) -> bytes:
    """The server's time in milliseconds since 1970."""
    return encode_frame([109, int(moment.timestamp() * 1000)])


def bulletin(news: Bulletin) -> bytes:
    """A news bulletin."""
    return encode_frame([14, 1, news.bulletin_id, news.kind, news.text, news.exchange])


def family_codes(accounts: Sequence[str]) -> bytes:
    """The accounts' family codes; none belongs to a family."""
    pairs = (field for account in accounts for field in (account, ""))
    return encode_frame([78, len(accounts), *pairs])


def user_info(request_id: int) -> bytes:
    """The user's white branding: none."""
    return encode_frame([107, request_id, ""])


def news_providers() -> bytes:
    """The providers of news that the user may read."""
    return encode_frame([85, len(_NEWS_PROVIDERS), *(field for each in _NEWS_PROVIDERS for field in each)])


def soft_dollar_tiers(request_id: int) -> bytes:
    """The user's soft dollar tiers: none."""
    return encode_frame([77, request_id, 0])
