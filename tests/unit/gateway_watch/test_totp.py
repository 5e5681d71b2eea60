"""The codes of an authenticator app, against the vectors of RFC 6238, and every form in which IBKR shows a secret."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway_watch.totp import SecretError, Totp, parse_secret, read_secret, seconds_left, start_of, step_at

KEY = b"12345678901234567890"
SECRET = base64.b32encode(KEY).decode()


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    # The vectors have eight digits; six are the last six of them.
    assert Totp(KEY).code(step_at(moment(seconds))) == code[2:]


def test_a_code_is_valid_for_its_thirty_seconds() -> None:
    assert step_at(moment(59.9)) == 1
    assert step_at(moment(60)) == 2
    assert seconds_left(moment(55)) == 5
    assert start_of(2) == moment(60)


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        SECRET.lower(),
        " ".join(SECRET[i : i + 4] for i in range(0, len(SECRET), 4)).lower(),
        "-".join(SECRET[i : i + 4] for i in range(0, len(SECRET), 4)),
        f"  {SECRET}\n",
    ],
)
def test_a_secret_is_taken_in_every_form(text: str) -> None:
    assert parse_secret(text).key == KEY


@pytest.mark.parametrize(("characters", "size"), [(16, 10), (20, 12), (26, 16), (32, 20), (52, 32)])
def test_short_and_long_secrets_are_taken(characters: int, size: int) -> None:
    assert len(parse_secret("A" * characters).key) == size


def test_padding_is_no_part_of_a_secret() -> None:
    assert parse_secret(base64.b32encode(b"0123456789abcdef").decode()).key == b"0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        (" - ", "is empty"),
        ("123456", "is a code"),
        ("GEZDGNBVGY3TQOJ1", "base32 does not know"),
        ("GEZDGNBVGY3TQOJ", "15 characters"),
        ("GEZDGNBVGY3TQOJQG", "one is missing"),
        # Upper case turns this letter into an S.
        ("GEZDGNBVGY3TQOJ\u017f", "base32 does not know"),
        (f"otpauth://totp/IBKR?secret={SECRET}", "whole otpauth address"),
        (f"OTPAUTH://TOTP/IBKR?SECRET={SECRET}", "whole otpauth address"),
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(text: str, why: str) -> None:
    with pytest.raises(SecretError, match=why) as caught:
        parse_secret(text)
    assert text.strip(" -") == "" or text not in str(caught.value)


def test_a_secret_is_not_in_the_representation() -> None:
    assert "123456" not in repr(Totp(KEY))


def test_a_file_is_named_if_it_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "totp_secret"
    with pytest.raises(SecretError, match=f"{file} cannot be read"):
        read_secret(file)
    file.write_text("short\n")
    with pytest.raises(SecretError, match=f"{file} has 5 characters"):
        read_secret(file)
    file.write_text(f"{SECRET}\n")
    assert read_secret(file).key == KEY
