"""Why a connection to the API failed, with the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why an attempt failed.

    ``id`` is the name shared by results, logs and the troubleshooting page; ``text`` describes it in one line;
    ``remedy`` is the next step for a person; ``waiting_helps`` is False where another attempt must end the same way.
    """

    id: str
    text: str
    remedy: str
    waiting_helps: bool = True


REFUSED = Cause(
    "refused",
    "nothing listens on the port",
    "The container is not running or its port is not published: check `systemctl status ib-gateway` and `docker ps`, "
    "and compare ib_gateway_api_port_paper (or _live) with the port used here.",
)
UNREACHABLE = Cause(
    "unreachable",
    "no TCP connection to the host could be established",
    "The API is published on 127.0.0.1 of the gateway's own host only: connect from that host, or through an ssh "
    "tunnel; check the host name and ib_gateway_api_port_paper or _live.",
)
CLOSED_BY_PEER = Cause(
    "closed_by_peer",
    "the connection was accepted and closed without an answer",
    "The relay runs but the gateway behind it does not listen yet: the login has not finished. Follow it with "
    "`journalctl -fu ib-gateway`; if it is logged in, check that the port used here is the one of "
    "ib_gateway_trading_mode (ib_gateway_api_port_paper 4002, ib_gateway_api_port_live 4001).",
)
SILENT_BEFORE_VERSION = Cause(
    "silent_before_version",
    "the port is open but nothing answered the version handshake",
    "On the first connection after a start this passes with the next attempt. If it stays, the API is dead behind an "
    "open port: restart the gateway (`ansible-playbook restart.yml --tags gateway`).",
)
SILENT_AFTER_VERSION = Cause(
    "silent_after_version",
    "the version handshake was answered, the start of the session was not",
    "The gateway may show a dialog that asks whether to accept the connection: check its screen "
    "(`ansible-playbook screenshot.yml`). If there is none, restart the gateway "
    "(`ansible-playbook restart.yml --tags gateway`).",
)
NATIVE_PORT_PUBLISHED = Cause(
    "native_port_published",
    "the container is healthy but the published port is silent: it leads to the gateway's native port, "
    "which serves clients inside the container only",
    "Publish the relay: 127.0.0.1:4002:4004 for paper, 127.0.0.1:4001:4003 for live. With 4002:4002 every "
    "client gets a connection and then silence. Remove such a mapping (ib_gateway_api_port_paper and _live name "
    "the host's side only) and restart the gateway; if `docker port ib-gateway` shows the relay already, the API is "
    "dead and the restart fixes it.",
)
CLIENT_ID_IN_USE = Cause(
    "client_id_in_use",
    "another client is connected with this client id (error 326)",
    "Give each program its own id: set ib_gateway_client_id to one that no other program uses, or stop the other one.",
)
NO_MANAGED_ACCOUNTS = Cause(
    "no_managed_accounts",
    "the gateway answered but named no account",
    "The login is not complete on IB's side. Check the gateway's screen (`ansible-playbook screenshot.yml`) and "
    "log in to Client Portal once with this user: an agreement or a question there may be waiting for an answer.",
)
SYNC_INCOMPLETE = Cause(
    "sync_incomplete",
    "the session started, but part of the first synchronisation never came",
    "On a fresh start IB's servers may still be loading the account: the next attempt usually passes. If it stays, "
    "raise ib_gateway_handshake_timeout, then restart the gateway.",
)
READ_ONLY = Cause(
    "read_only",
    "the API is read-only and orders are needed",
    "Set ib_gateway_read_only_api to false and run site.yml, so that the gateway restarts with orders allowed.",
    waiting_helps=False,
)
WRONG_ACCOUNT_KIND = Cause(
    "wrong_account_kind",
    "the account type does not match the trading mode",
    "Do not trade here. Compare ib_gateway_trading_mode with the user that logged in: paper accounts start with D, "
    "live accounts do not. Correct ib_gateway_trading_mode, ib_gateway_userid or the port, and run site.yml.",
    waiting_helps=False,
)
UNEXPECTED_ACCOUNT = Cause(
    "unexpected_account",
    "the accounts are not the expected ones",
    "Compare ib_gateway_expected_accounts with the accounts of the user in ib_gateway_userid, and correct the one that "
    "is wrong.",
    waiting_helps=False,
)
API_TIMEOUT = Cause(
    "api_timeout",
    "the API answered the probe, but no session was established within the time limit",
    "The gateway is overloaded or its API is dying: check `docker stats` and the host's load, raise "
    "ib_gateway_handshake_timeout, and restart the gateway if it stays.",
)
NOT_A_GATEWAY = Cause(
    "not_a_gateway",
    "what answered does not speak the IB API",
    "Another program has the port: find it with `ss -ltnp`, and choose another "
    "ib_gateway_api_port_paper or _live, or stop that program.",
)

CAUSES: Mapping[str, Cause] = MappingProxyType(
    {
        cause.id: cause
        for cause in (
            REFUSED,
            UNREACHABLE,
            CLOSED_BY_PEER,
            SILENT_BEFORE_VERSION,
            SILENT_AFTER_VERSION,
            NATIVE_PORT_PUBLISHED,
            CLIENT_ID_IN_USE,
            NO_MANAGED_ACCOUNTS,
            SYNC_INCOMPLETE,
            READ_ONLY,
            WRONG_ACCOUNT_KIND,
            UNEXPECTED_ACCOUNT,
            API_TIMEOUT,
            NOT_A_GATEWAY,
        )
    }
)
"""Every cause by its id."""
