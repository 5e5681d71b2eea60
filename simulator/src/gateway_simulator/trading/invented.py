"""Listings of symbols that the sample does not have: invented from the symbol alone, or read from a file.

An invented stock is the same in every run: its price, volatility, exchange and ISIN come from a hash of its symbol.

A catalog file is CSV with a head line; only ``symbol`` and ``price`` are needed:

| column | meaning | empty |
|---|---|---|
| symbol | of a stock or ETF in US dollars | required |
| price | about which the market walks | required |
| name | | the symbol |
| exchange | primary: NASDAQ, NYSE, ARCA, AMEX or BATS | NASDAQ |
| volatility | a year, as a share of 1 | 0.3 |
| volume | millions of shares a day | 5 |
| isin | | an invented one |
| kind | COMMON or ETF | COMMON |
| strike_step | between two strikes of its options; 0: it has none | about a fortieth of the price |
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from pathlib import Path

US_SYMBOL = re.compile(r"[A-Z]{1,5}(?: [A-Z])?")
PRIMARY_EXCHANGES = ("NASDAQ", "NYSE", "ARCA", "AMEX", "BATS")
US_EXCHANGES = (*PRIMARY_EXCHANGES, "ISLAND")
"""Primary exchanges that a client may name; ISLAND is NASDAQ's older name."""
KINDS = ("COMMON", "ETF")
STRIKE_STEPS = tuple(map(Decimal, ("0.5", "1", "2.5", "5", "10", "25", "50", "100")))
STRIKES_PER_PRICE = 40
COLUMNS = ("symbol", "price", "name", "exchange", "volatility", "volume", "isin", "kind", "strike_step")


class CatalogFileError(ValueError):
    """A catalog file that cannot be used: which line, which column, what to do."""


@dataclass(frozen=True)
class Listing:
    """What the catalog must know of a stock or ETF; ``strike_step`` 0: it has no options."""

    symbol: str
    name: str
    exchange: str
    price: Decimal
    volatility: float
    millions: int
    isin: str
    kind: str
    strike_step: Decimal


def is_plausible(symbol: str) -> bool:
    """Return whether a symbol may be that of a stock or ETF in the United States."""
    return US_SYMBOL.fullmatch(symbol) is not None


def invented(symbol: str) -> Listing:
    """Create the listing of a symbol."""
    drawn = blake2b(f"listing {symbol}".encode(), digest_size=16).digest()
    price = Decimal(1000 + int.from_bytes(drawn[:4], "big") % 39_000) / 100
    return Listing(
        symbol,
        f"{symbol} CORP",
        PRIMARY_EXCHANGES[drawn[4] % 2],
        price,
        0.18 + drawn[5] % 40 / 100,
        1 + drawn[6] % 20,
        isin_of(symbol),
        "COMMON",
        strike_step(price),
    )


def strike_step(price: Decimal) -> Decimal:
    """Return a usual step between strikes at a price."""
    wanted = price / STRIKES_PER_PRICE
    return next((step for step in STRIKE_STEPS if step >= wanted), STRIKE_STEPS[-1])


def isin_of(symbol: str) -> str:
    """Return an invented ISIN with right check digits."""
    drawn = int.from_bytes(blake2b(f"isin {symbol}".encode(), digest_size=8).digest(), "big")
    issue = f"{drawn % 10**8:08d}"
    cusip = sum(sum(divmod(int(each) * (1 + at % 2), 10)) for at, each in enumerate(issue))
    body = f"US{issue}{-cusip % 10}"
    digits = "".join(str(int(each, 36)) for each in body)
    total = sum(sum(divmod(int(each) * (1 + at % 2), 10)) for at, each in enumerate(digits[::-1], start=1))
    return f"{body}{-total % 10}"


def read_catalog_file(path: Path) -> list[Listing]:
    """Read a catalog file. Raises CatalogFileError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogFileError(f"{path}: cannot be read: {error}") from error
    reader = csv.DictReader(text.splitlines())
    unknown = sorted(set(reader.fieldnames or ()) - set(COLUMNS))
    missing = sorted({"symbol", "price"} - set(reader.fieldnames or ()))
    if unknown or missing:
        raise CatalogFileError(
            f"{path}:1: columns must be among {', '.join(COLUMNS)}, symbol and price among them; "
            f"unknown: {', '.join(unknown) or 'none'}, missing: {', '.join(missing) or 'none'}"
        )
    listings: dict[str, Listing] = {}
    for row in reader:
        where = f"{path}:{reader.line_num}"
        listing = _listing(where, {key: (value or "").strip() for key, value in row.items() if key is not None})
        if listing.symbol in listings:
            raise CatalogFileError(f"{where}: symbol {listing.symbol} is there a second time; remove one of the lines")
        listings[listing.symbol] = listing
    return list(listings.values())


def _listing(where: str, row: Mapping[str, str]) -> Listing:
    symbol = row["symbol"].upper()
    if not is_plausible(symbol):
        raise CatalogFileError(f"{where}: symbol is {row['symbol']!r}; it must be 1 to 5 letters (and a class: BRK B)")
    price = _number(where, row, "price", "")
    if price <= 0:
        raise CatalogFileError(f"{where}: price is {price}; it must be above 0")
    volatility = _number(where, row, "volatility", "0.3")
    if not 0 < volatility <= 5:
        raise CatalogFileError(f"{where}: volatility is {volatility}; it must be above 0 and at most 5")
    exchange, kind = row.get("exchange") or "NASDAQ", row.get("kind") or "COMMON"
    for name, value, allowed in (("exchange", exchange, PRIMARY_EXCHANGES), ("kind", kind, KINDS)):
        if value not in allowed:
            raise CatalogFileError(f"{where}: {name} is {value!r}; it must be one of {', '.join(allowed)}")
    step = _number(where, row, "strike_step", str(strike_step(price)))
    if step and not price / 300 <= step <= price:
        raise CatalogFileError(f"{where}: strike_step is {step}; it must be 0, or from price/300 to price")
    return Listing(
        symbol,
        row.get("name") or symbol,
        exchange,
        price,
        float(volatility),
        int(_number(where, row, "volume", "5")),
        row.get("isin") or isin_of(symbol),
        kind,
        step,
    )


def _number(where: str, row: Mapping[str, str], column: str, default: str) -> Decimal:
    text = row.get(column) or default
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise CatalogFileError(f"{where}: {column} is {text!r}; it must be a number") from None
    if not number.is_finite() or number < 0:
        raise CatalogFileError(f"{where}: {column} is {text!r}; it must be 0 or more")
    return number
