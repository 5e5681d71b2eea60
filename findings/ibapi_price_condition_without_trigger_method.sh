#!/usr/bin/env bash
# ibapi-latest 10.51.1 (the official Python API; protobuf 6.33.2), Python 3.11.
#
# Behaviour: PriceCondition has None as the default of triggerMethod, although 0 is the API's "Default", and an order with
# such a condition is never sent. How the program learns of it depends on the server version. At 178 placeOrder returns
# normally and reports error 512 to EWrapper.error, as it does for its other refusals. At 213, where orders are protobuf
# messages, the check for unset numbers lets None pass, and placeOrder raises ClientException with code 588, which names
# neither the condition nor the field and reports nothing to EWrapper.error. So error handling that was tested against
# an older gateway does not see it, and a callback in which placeOrder is called ends. With triggerMethod=0 it is sent.
#
# Output seen:
#   server 213, no trigger method: sent 0, raised ClientException (588, 'Error encoding protobuf - ', 'Error encoding conditions'), reported nothing
#   server 213, trigger method 0: sent 1, raised nothing, reported nothing
#   server 178, no trigger method: sent 0, raised nothing, reported 512 Order Sending Error - Cannot send None to TWS
set -euo pipefail
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps ibapi-latest==10.51.1 protobuf==6.33.2
"$work/venv/bin/python" - <<'PYTHON'
from ibapi.client import EClient
from ibapi.contract import Contract
from ibapi.order import Order
from ibapi.order_condition import PriceCondition
from ibapi.wrapper import EWrapper


class Program(EWrapper, EClient):
    def __init__(self, version):
        EClient.__init__(self, self)
        self.errors, self.sent, self.raised = [], [], ""
        self.connState, self.serverVersion_, self.conn = EClient.CONNECTED, version, self

    def isConnected(self):
        return True

    def sendMsg(self, message):
        self.sent.append(message)
        return len(message)

    def error(self, *report):
        self.errors.append(report)


def place(version, condition):
    program, order = Program(version), Order()
    contract = Contract()
    contract.conId, contract.exchange = 265598, "SMART"
    order.action, order.totalQuantity, order.orderType, order.lmtPrice = "BUY", 1, "LMT", 1.0
    order.conditions = [condition]
    try:
        program.placeOrder(1, contract, order)
    except Exception as error:
        program.raised = f"{type(error).__name__} {error}"
    return program


def describe(program):
    reported = "; ".join(" ".join(str(part) for part in report[2:4]) for report in program.errors)
    return f"sent {len(program.sent)}, raised {program.raised or 'nothing'}, reported {reported or 'nothing'}"


without = place(213, PriceCondition(conId=265598, exch="SMART", isMore=True, price=200.0))
print("server 213, no trigger method:", describe(without))
given = place(213, PriceCondition(triggerMethod=0, conId=265598, exch="SMART", isMore=True, price=200.0))
print("server 213, trigger method 0:", describe(given))
old = place(178, PriceCondition(conId=265598, exch="SMART", isMore=True, price=200.0))
print("server 178, no trigger method:", describe(old))
assert not without.sent and "588" in without.raised and not without.errors
assert len(given.sent) == 1 and not given.raised and not given.errors
assert not old.sent and not old.raised and any(512 in report for report in old.errors)
PYTHON
