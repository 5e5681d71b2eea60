"""Reading a request's fields one after the other, each by name and kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway_simulator.trading.model import ZERO, ComboLeg, Contract, ContractQuery

INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,15}(?:\.\d{0,25})?(?:[eE][-+]?\d{1,2})?", re.ASCII)
_MOMENT = re.compile(r"(\d{8})[ -] ?(\d{2}:\d{2}:\d{2})(?: (\S{1,40}))?", re.ASCII)

# What the clients write for a number that is not set: nothing, or the largest one of their language.
_UNSET_DECIMALS = {
    "",
    "1.7976931348623157e+308",
    "1.7976931348623157E308",
    "170141183460469231731687303715884105727",
}
_UNSET_INTEGERS = {"", "2147483647", "9223372036854775807"}

_RIGHTS = {"": "", "?": "", "0": "", "C": "C", "CALL": "C", "P": "P", "PUT": "P"}


class MalformedRequestError(Exception):
    """A request whose fields cannot be read; the message names the request, the field and the reason."""

    def __init__(self, reason: str, request_id: int = -1) -> None:
        super().__init__(reason)
        self.request_id = request_id


class Reader:
    """Reads a request's fields one after the other.

    ``name`` is the request's, for its errors; ``server_version`` is the one the session agreed on.
    Every method raises MalformedRequestError if the field is missing or not of its kind.
    """

    def __init__(self, name: str, fields: Sequence[str], server_version: int) -> None:
        self.name = name
        self.server_version = server_version
        self.request_id = -1
        self._fields = fields
        self._next = 1

    def text(self, what: str) -> str:
        """Read a field unchanged."""
        if self._next >= len(self._fields):
            raise self.error(f"field {self._next} ({what}) is missing")
        self._next += 1
        return self._fields[self._next - 1]

    def integer(self, what: str) -> int:
        """Read a required integer."""
        text = self.text(what)
        if not INTEGER.fullmatch(text):
            raise self.error(f"{what} {text[:40]!r} is not an integer")
        return int(text)

    def integer_or_none(self, what: str) -> int | None:
        """Read an integer; None if it is empty or the number that represents none."""
        if self.peek() in _UNSET_INTEGERS:
            self.text(what)
            return None
        return self.integer(what)

    def optional_integer(self, what: str) -> int:
        """Read an integer; 0 if there is none."""
        return self.integer_or_none(what) or 0

    def count(self, what: str) -> int:
        """Read the number of entries that follow; none if it is empty."""
        number = self.optional_integer(what)
        if number < 0:
            raise self.error(f"{what} {number} is below 0")
        return number

    def flag(self, what: str) -> bool:
        """Read a yes or no; some clients leave empty what they have not set, which means no."""
        text = self.text(what)
        if text not in ("0", "1", ""):
            raise self.error(f"{what} {text[:40]!r} is neither 0 nor 1")
        return text == "1"

    def decimal_or_none(self, what: str) -> Decimal | None:
        """Read a number; None if it is empty or the number that represents none."""
        text = self.text(what)
        if text in _UNSET_DECIMALS:
            return None
        if not _DECIMAL.fullmatch(text):
            raise self.error(f"{what} {text[:40]!r} is not a number")
        return Decimal(text)

    def decimal(self, what: str) -> Decimal:
        """Read a number; 0 if there is none."""
        return self.decimal_or_none(what) or ZERO

    def moment(self, what: str) -> datetime | None:
        """Read a date and time, in UTC unless it names its zone; None if it is empty."""
        text = self.text(what)
        if not text:
            return None
        match = _MOMENT.fullmatch(text)
        if match is None:
            raise self.error(f"{what} {text[:40]!r} is not 'YYYYMMDD HH:MM:SS [zone]'")
        try:
            zone = ZoneInfo(match[3]) if match[3] else UTC
            return datetime.strptime(f"{match[1]} {match[2]}", "%Y%m%d %H:%M:%S").replace(tzinfo=zone)
        except (ValueError, OSError, ZoneInfoNotFoundError) as error:
            # A name like "America" is a folder of zones, which is an OSError.
            raise self.error(f"{what} {text[:40]!r}: {error}") from error

    def contract(self) -> Contract:
        """Read the twelve fields that name a contract; what a client leaves out is empty or 0."""
        con_id, symbol, sec_type, expiry = (
            self.optional_integer("contract id"),
            self.text("symbol"),
            self.text("security type"),
            self.text("expiry"),
        )
        strike, right, multiplier = self.decimal("strike"), self.text("right"), self.text("multiplier")
        if right.upper() not in _RIGHTS:
            raise self.error(f"right {right[:40]!r} is neither C nor P")
        if multiplier and not _DECIMAL.fullmatch(multiplier):
            raise self.error(f"multiplier {multiplier[:40]!r} is not a number")
        return Contract(
            con_id=con_id,
            symbol=symbol,
            sec_type=sec_type,
            expiry=expiry,
            strike=strike,
            right=_RIGHTS[right.upper()],
            multiplier=multiplier if multiplier and Decimal(multiplier) else "",  # some clients write 0 for none
            exchange=self.text("exchange"),
            primary_exchange=self.text("primary exchange"),
            currency=self.text("currency"),
            local_symbol=self.text("local symbol"),
            trading_class=self.text("trading class"),
        )

    def query(self) -> ContractQuery:
        """Read the twelve fields that name a contract, as a query for those they fit."""
        return ContractQuery.of(self.contract())

    def delta_neutral_contract(self) -> bool:
        """Read the block of a contract that hedges another one to delta neutral; return whether it is present."""
        present = self.flag("delta neutral contract")
        if present:
            self.integer("delta neutral contract id")
            self.decimal("delta neutral delta")
            self.decimal("delta neutral price")
        return present

    def combo_legs(self) -> tuple[ComboLeg, ...]:
        """Read the legs of a combination as data requests give them."""
        return tuple(self.combo_leg() for _ in range(self.count("number of combo legs")))

    def combo_leg(self) -> ComboLeg:
        """Read the four fields that every leg starts with."""
        return ComboLeg(
            self.optional_integer("leg's contract id"),
            self.optional_integer("leg's ratio"),
            self.text("leg's action"),
            self.text("leg's exchange"),
        )

    def identify(self) -> int:
        """Read the request id, which errors will name from here on."""
        self.request_id = self.integer("request id")
        return self.request_id

    def peek(self) -> str | None:
        """Return the next field without reading past it, or None at the end."""
        return self._fields[self._next] if self._next < len(self._fields) else None

    def version(self, *allowed: int) -> None:
        """Read the request's own version, which must be one of those allowed."""
        given = self.integer("version")
        if given not in allowed:
            raise self.error(f"version {given} is not the one in use ({', '.join(map(str, allowed))})")

    def error(self, reason: str) -> MalformedRequestError:
        """Create the error that states what is wrong with the field just read."""
        return MalformedRequestError(f"{self.name}: {reason}", self.request_id)
