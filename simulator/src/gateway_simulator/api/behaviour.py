"""What the simulated API does with its clients: the switches a scenario turns, also while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

MIN_SERVER_VERSION = 176
MAX_TEXT_VERSION = 178
PROTOBUF_VERSION = 213
"""The version from which on every message that is served is protobuf; those between the two are not offered."""
SERVER_VERSIONS = (*range(MIN_SERVER_VERSION, MAX_TEXT_VERSION + 1), PROTOBUF_VERSION)


def agreed_version(own: int, client_maximum: int) -> int:
    """Return the newest version that both sides speak; below MIN_SERVER_VERSION if there is none."""
    return max((each for each in SERVER_VERSIONS if each <= min(own, client_maximum)), default=client_maximum)


class ConnectMode(Enum):
    """What happens to a client that connects."""

    NORMAL = "normal"
    SILENT_ONCE = "silent_once"
    """The next client gets a connection and silence; after it the mode is NORMAL again."""
    SILENT = "silent"
    """Every new client gets a connection and silence; clients already served continue."""
    ACCEPT_AND_CLOSE = "accept_and_close"
    SILENT_AFTER_VERSION = "silent_after_version"
    """The gateway handles the version handshake and nothing after it."""
    STALLED = "stalled"
    """A dead API behind an open port: nothing is read, from old clients either, and a connection
    that its client closes stays in CLOSE_WAIT. A client once stalled stays so for its lifetime."""


class MarketDataAccess(Enum):
    """What market data the gateway's user has."""

    LIVE = "live"
    DELAYED = "delayed"
    """Nothing live; delayed by 15 minutes for clients that ask for delayed data (10167, else 10168)."""
    FROZEN = "frozen"
    """Each ticker gets the values of its start, and nothing after them."""
    NONE = "none"
    """Error 354."""
    COMPETING = "competing"
    """Another session of the user has the data: error 10197."""


@dataclass
class ApiBehaviour:
    """The API's settings. Mutable: a change takes effect with the next connection or request.

    ``server_version`` 176 to 178, or 213: the newest version offered to clients.
    ``connect`` what a new client meets.
    ``read_only`` the Read-Only API checkbox: order requests are answered with error 321.
    ``managed_accounts`` False: the list of accounts is never sent, so no client becomes ready.
    ``client_ids_in_use`` client ids held by others: START_API with one of them gets error 326.
    ``sync_delay`` seconds after START_API's own answer before the first request is served.
    ``omit_executions_end`` execDetailsEnd (55) is never sent.
    ``omit_account_download_end`` accountDownloadEnd (54) is never sent (the first connect of ib_insync #303).
    ``farm_down`` data farms are reported broken (2103, 2105, 2157) instead of connected, and no
    market data comes.
    ``market_data`` what market data the user has.
    ``market_data_lines`` tickers that a client may have at a time, beyond which they are rejected (101).
    ``master_client_id`` the client that receives the events of every client's orders; None: no client does.
    ``messages_per_second`` from a client, beyond which they are rejected (100); 0: no limit.
    ``historical_pacing`` too many requests for history are rejected (162).
    """

    server_version: int = PROTOBUF_VERSION
    connect: ConnectMode = ConnectMode.NORMAL
    read_only: bool = False
    managed_accounts: bool = True
    client_ids_in_use: set[int] = field(default_factory=set)
    sync_delay: float = 0.0
    omit_executions_end: bool = False
    omit_account_download_end: bool = False
    farm_down: bool = False
    market_data: MarketDataAccess = MarketDataAccess.LIVE
    market_data_lines: int = 100
    master_client_id: int | None = None
    messages_per_second: int = 50
    historical_pacing: bool = False

    def __post_init__(self) -> None:
        """Reject values no simulated gateway can have, with a ValueError that names the field."""
        if self.server_version not in SERVER_VERSIONS:
            raise ValueError(
                f"server_version is {self.server_version}; it must be one of {', '.join(map(str, SERVER_VERSIONS))}"
            )
        if self.market_data_lines < 0:
            raise ValueError(f"market_data_lines is {self.market_data_lines}; it must be 0 or more")
        if self.messages_per_second < 0:
            raise ValueError(f"messages_per_second is {self.messages_per_second}; it must be 0 or more")
        if not 0 <= self.sync_delay < float("inf"):
            raise ValueError(f"sync_delay is {self.sync_delay}; it must be a number of seconds, 0 or more")
