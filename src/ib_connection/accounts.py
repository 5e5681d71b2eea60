"""The kind of an account, whether it fits the trading mode, and how to show its number."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum

from ib_connection.causes import UNEXPECTED_ACCOUNT, WRONG_ACCOUNT_KIND, Cause


class AccountKind(Enum):
    """What an account trades with. The value is the trading mode that fits it."""

    PAPER = "paper"
    LIVE = "live"


def kind_of(account: str) -> AccountKind:
    """The kind of an account by its number: those of paper accounts start with D (DU…, DF…, DI…)."""
    return AccountKind.PAPER if account.startswith("D") else AccountKind.LIVE


def masked(account: str) -> str:
    """The masked number for people: the first and last two characters, recognisable but not usable."""
    return f"{account[:2]}{'*' * (len(account) - 4)}{account[-2:]}" if len(account) > 4 else "*" * len(account)


def masked_list(accounts: Iterable[str]) -> str:
    """Several masked numbers in one line, in the order given."""
    return ", ".join(masked(account) for account in accounts)


def check_accounts(
    accounts: Collection[str], mode: AccountKind | None, expected: Collection[str]
) -> tuple[Cause, str] | None:
    """What is wrong with the accounts of a session, as cause and detail; None if nothing is.

    Every account must be of the mode's kind; None takes either. If ``expected`` is not empty, the accounts must be
    exactly those.
    """
    wrong = [account for account in accounts if mode is not None and kind_of(account) is not mode]
    if wrong and mode is not None:
        return (
            WRONG_ACCOUNT_KIND,
            f"the trading mode is {mode.value}, but the session holds {masked_list(wrong)}",
        )
    if not expected:
        return None
    strange = [account for account in accounts if account not in expected]
    if strange:
        return UNEXPECTED_ACCOUNT, f"{masked_list(strange)} is not among the expected {masked_list(expected)}"
    missing = [account for account in expected if account not in accounts]
    if missing:
        return (
            UNEXPECTED_ACCOUNT,
            f"{masked_list(missing)} is expected, the session holds {masked_list(accounts)}",
        )
    return None
