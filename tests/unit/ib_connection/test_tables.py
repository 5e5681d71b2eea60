"""The tables of causes and codes, and the rules on accounts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ib_connection import causes
from ib_connection.accounts import AccountKind, check_accounts, kind_of, masked
from ib_connection.causes import CAUSES
from ib_connection.codes import CODES, explains_failure, is_read_only_refusal


def test_each_cause_states_what_and_what_to_do() -> None:
    assert set(CAUSES) >= {
        *("refused", "unreachable", "closed_by_peer", "silent_before_version", "silent_after_version"),
        *("native_port_published", "client_id_in_use", "no_managed_accounts", "sync_incomplete", "read_only"),
        *("wrong_account_kind", "unexpected_account", "api_timeout"),
    }
    for cause in CAUSES.values():
        assert cause.text[0].islower(), f"{cause.id}: the text continues a sentence"
        assert "\n" not in cause.text
        assert cause.remedy.endswith("."), f"{cause.id}: the remedy is a sentence"


def test_no_cause_is_left_out_of_the_table() -> None:
    defined = [value for value in vars(causes).values() if isinstance(value, causes.Cause)]
    assert sorted(cause.id for cause in defined) == sorted(CAUSES)


def test_remedies_name_variables_that_the_role_has() -> None:
    root = Path(__file__).parents[3]
    variables = set(yaml.safe_load((root / "roles/ib_gateway/defaults/main.yml").read_text()))
    named = {name for cause in CAUSES.values() for name in re.findall(r"\bib_gateway_\w+", cause.remedy)}
    assert named, "no remedy names a variable"
    assert named <= variables


def test_native_port_states_which_mapping_is_right() -> None:
    assert "127.0.0.1:4002:4004" in causes.NATIVE_PORT_PUBLISHED.remedy
    assert "4002:4002" in causes.NATIVE_PORT_PUBLISHED.remedy


@pytest.mark.parametrize("number", [1100, 1101, 1102, 2110, 2157, 2158, 502, 504, 326, 321, 10197, 354, 200, 201, 202])
def test_codes_acted_on_are_explained(number: int) -> None:
    assert CODES[number].meaning


def test_notices_are_no_fault_and_unknown_errors_are() -> None:
    assert not any(map(explains_failure, (2104, 2106, 2107, 2108, 2158, 1102, 2169)))
    assert all(map(explains_failure, (1100, 1101, 2103, 2105, 2110, 2157, 326, 321, 502, 10147)))


def test_read_only_is_recognised_by_code_and_text() -> None:
    text = "Error validating request.-'bN' : cause - The API interface is currently in Read-Only mode."
    assert is_read_only_refusal(321, text)
    assert not is_read_only_refusal(321, "Error validating request: invalid account")
    assert not is_read_only_refusal(201, text)


@pytest.mark.parametrize(
    ("account", "kind"), [("DU1234567", "paper"), ("DF123", "paper"), ("U1234567", "live"), ("F123", "live")]
)
def test_kind(account: str, kind: str) -> None:
    assert kind_of(account) is AccountKind(kind)


@pytest.mark.parametrize(("account", "shown"), [("DU1234567", "DU*****67"), ("U123", "****"), ("", "")])
def test_mask(account: str, shown: str) -> None:
    assert masked(account) == shown


def test_accounts_that_fit() -> None:
    assert check_accounts(["DU1", "DU2"], AccountKind.PAPER, []) is None
    assert check_accounts(["DU1", "DU2"], AccountKind.PAPER, ["DU2", "DU1"]) is None


@pytest.mark.parametrize(
    ("accounts", "mode", "expected", "cause"),
    [
        (["U1"], "paper", [], causes.WRONG_ACCOUNT_KIND),
        (["DU1", "U1"], "paper", [], causes.WRONG_ACCOUNT_KIND),
        (["DU1"], "live", [], causes.WRONG_ACCOUNT_KIND),
        (["U1"], "paper", ["U1"], causes.WRONG_ACCOUNT_KIND),
        (["DU1", "DU2"], "paper", ["DU1"], causes.UNEXPECTED_ACCOUNT),
        (["DU1"], "paper", ["DU1", "DU2"], causes.UNEXPECTED_ACCOUNT),
    ],
)
def test_accounts_that_do_not(accounts: list[str], mode: str, expected: list[str], cause: causes.Cause) -> None:
    found = check_accounts(accounts, AccountKind(mode), expected)
    assert found is not None
    assert found[0] is cause
