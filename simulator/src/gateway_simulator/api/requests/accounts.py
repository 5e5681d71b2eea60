"""Requests about the session itself, accounts, positions and profit."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_simulator.api.requests.reader import Reader


@dataclass(frozen=True)
class StartApi:
    """Start the session under a client id."""

    client_id: int
    capabilities: str


@dataclass(frozen=True)
class AccountUpdates:
    """Subscribe to one account's values and portfolio, or stop that."""

    subscribe: bool
    account: str


@dataclass(frozen=True)
class AccountUpdatesMulti:
    """Subscribe to the values of an account and model."""

    request_id: int
    account: str
    model: str
    ledger_only: bool


@dataclass(frozen=True)
class CancelAccountUpdatesMulti:
    """Stop a subscription to the values of an account and model."""

    request_id: int


@dataclass(frozen=True)
class AccountSummary:
    """Subscribe to some values of a group of accounts."""

    request_id: int
    group: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class CancelAccountSummary:
    """Stop a subscription to account values."""

    request_id: int


@dataclass(frozen=True)
class Positions:
    """Subscribe to the positions of all accounts."""


@dataclass(frozen=True)
class CancelPositions:
    """Stop the subscription to the positions of all accounts."""


@dataclass(frozen=True)
class PositionsMulti:
    """Subscribe to the positions of an account and model."""

    request_id: int
    account: str
    model: str


@dataclass(frozen=True)
class CancelPositionsMulti:
    """Stop a subscription to the positions of an account and model."""

    request_id: int


@dataclass(frozen=True)
class ProfitAndLoss:
    """Subscribe to an account's profit and loss of the day."""

    request_id: int
    account: str
    model: str


@dataclass(frozen=True)
class CancelProfitAndLoss:
    """Stop a subscription to an account's profit and loss."""

    request_id: int


@dataclass(frozen=True)
class ProfitAndLossSingle:
    """Subscribe to one position's profit and loss of the day."""

    request_id: int
    account: str
    model: str
    con_id: int


@dataclass(frozen=True)
class CancelProfitAndLossSingle:
    """Stop a subscription to one position's profit and loss."""

    request_id: int


@dataclass(frozen=True)
class NewsBulletins:
    """Subscribe to news bulletins, with the day's earlier ones or without."""

    all_messages: bool


@dataclass(frozen=True)
class CancelNewsBulletins:
    """Stop the subscription to news bulletins."""


@dataclass(frozen=True)
class ManagedAccounts:
    """Report the accounts this session manages."""


@dataclass(frozen=True)
class CurrentTime:
    """Report the server's time."""


@dataclass(frozen=True)
class CurrentTimeInMillis:
    """Report the server's time in milliseconds."""


@dataclass(frozen=True)
class FamilyCodes:
    """Report the family codes of the accounts."""


@dataclass(frozen=True)
class UserInfo:
    """Report the user's white branding."""

    request_id: int


@dataclass(frozen=True)
class NewsProviders:
    """Report the providers of news that the user may read."""


@dataclass(frozen=True)
class SoftDollarTiers:
    """Report the soft dollar tiers of the user."""

    request_id: int


@dataclass(frozen=True)
class Silent:
    """A request that the gateway obeys without an answer (a setting that the simulator does not have)."""


def read_start_api(take: Reader) -> StartApi:
    """Read startApi."""
    take.version(2)
    return StartApi(take.integer("client id"), take.text("optional capabilities"))


def read_account_updates(take: Reader) -> AccountUpdates:
    """Read reqAccountUpdates."""
    take.version(2)
    return AccountUpdates(take.flag("subscribe"), take.text("account"))


def read_account_updates_multi(take: Reader) -> AccountUpdatesMulti:
    """Read reqAccountUpdatesMulti."""
    take.version(1)
    return AccountUpdatesMulti(take.identify(), take.text("account"), take.text("model"), take.flag("ledger and NLV"))


def read_account_summary(take: Reader) -> AccountSummary:
    """Read reqAccountSummary."""
    take.version(1)
    request_id, group, tags = take.identify(), take.text("group"), take.text("tags")
    return AccountSummary(request_id, group, tuple(tag.strip() for tag in tags.split(",") if tag.strip()))


def read_positions_multi(take: Reader) -> PositionsMulti:
    """Read reqPositionsMulti."""
    take.version(1)
    return PositionsMulti(take.identify(), take.text("account"), take.text("model"))


def read_profit_and_loss(take: Reader) -> ProfitAndLoss:
    """Read reqPnL."""
    return ProfitAndLoss(take.identify(), take.text("account"), take.text("model"))


def read_profit_and_loss_single(take: Reader) -> ProfitAndLossSingle:
    """Read reqPnLSingle."""
    return ProfitAndLossSingle(
        take.identify(), take.text("account"), take.text("model"), take.optional_integer("contract id")
    )


def read_news_bulletins(take: Reader) -> NewsBulletins:
    """Read reqNewsBulletins."""
    take.version(1)
    return NewsBulletins(take.flag("all messages"))


def read_log_level(take: Reader) -> Silent:
    """Read setServerLogLevel, which changes nothing here."""
    take.version(1)
    take.integer("log level")
    return Silent()
