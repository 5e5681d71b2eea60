#!/usr/bin/env bash
# ib_insync 0.9.86 (eventkit 1.0.3, nest_asyncio 1.6.0, numpy 2.2.6), Python 3.11.
#
# Behaviour: a bid that IB sends again with the same price and size raises no update event and leaves the ticker's time
# as it was. A subscription that is cancelled and requested again for the same contract returns the same Ticker, with
# the last prices of the old subscription in it. So neither an update event nor a price that is not nan proves that a
# quote is recent: a program that counts confirmations or ages by events must keep its own clock for each subscription.
#
# Output seen:
#   first bid: 1 update, time 2026-11-25 15:00:00+00:00
#   the same bid a minute later: 0 updates, time 2026-11-25 15:00:00+00:00
#   subscribed again: the same ticker, bid 10.0
set -euo pipefail
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
  ib_insync==0.9.86 eventkit==1.0.3 nest_asyncio==1.6.0 numpy==2.2.6
"$work/venv/bin/python" - <<'PYTHON'
from datetime import datetime, timedelta, timezone

from ib_insync import IB, Stock

ib = IB()
contract = Stock(conId=265598, symbol="AAPL", exchange="SMART", currency="USD")
wrapper, start = ib.wrapper, datetime(2026, 11, 25, 15, tzinfo=timezone.utc)
ticker = wrapper.startTicker(1, contract, "mktData")


def deliver(moment, price):
    """One packet from the gateway; the number of tickers that it updates."""
    wrapper.pendingTickers.clear()
    wrapper.lastTime = moment
    wrapper.priceSizeTick(1, 1, price, 5)
    updated = set(wrapper.pendingTickers)
    for each in updated:
        each.time = moment  # as Wrapper.tcpDataProcessed does for the tickers that a packet has updated
    return len(updated)


first = deliver(start, 10.0)
print(f"first bid: {first} update, time {ticker.time}")
again = deliver(start + timedelta(minutes=1), 10.0)
print(f"the same bid a minute later: {again} updates, time {ticker.time}")
wrapper.endTicker(ticker, "mktData")
renewed = wrapper.startTicker(2, contract, "mktData")
print(f"subscribed again: {'the same' if renewed is ticker else 'another'} ticker, bid {renewed.bid}")
assert (first, again, ticker.time) == (1, 0, start)
assert renewed is ticker and renewed.bid == 10.0
PYTHON
