"""What people are notified of about accounts; words only. As in `reports.messages`, each key names one condition."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from ib_connection.accounts import masked
from notifications.message import Message, Severity
from position_manager.account.assignment import RiskSeen
from position_manager.account.settings import Action
from position_manager.account.stops import Fired, RuleState
from position_manager.model import Position
from position_manager.reports.messages import Author

CONSEQUENCES = {
    Action.CLOSE: "Every unit of the account is being closed, short ones first. ",
    Action.HALT: "The guards go on; every position that is opened or enlarged is alerted about. ",
    Action.NOTIFY: "Nothing is closed. ",
}


class AccountAuthor(Author):
    """Writes about accounts."""

    def account_fired(self, account: str, fired: Fired, *, shadow: bool) -> Message:
        lines = CONSEQUENCES[fired.action]
        if shadow and fired.action is Action.CLOSE:
            lines = "Mode shadow sends nothing: every unit would be closed. "
        return self._message(
            "account_stop",
            Severity.ALERT,
            f"Account {masked(account)}: {fired.rule} has fired ({fired.action})",
            fired.text,
            f"{lines}To end it: position-manager rearm account",
            dedupe_key=f"account/{account}/{fired.rule}/{fired.at.isoformat()}",
        )

    def account_over(self, account: str, rule: str, why: str) -> Message:
        return self._message(
            "account_stop_over",
            Severity.INFO,
            f"Account {masked(account)}: {rule} is armed again",
            why,
            recovery_of=f"account/{account}/{rule}",
        )

    def account_blind(self, account: str, state: RuleState, seconds: float) -> Message:
        return self._message(
            "account_unprotected",
            Severity.ALERT,
            f"Account {masked(account)}: {state.rule} is unprotected for {seconds:.0f} s",
            state.text,
            dedupe_key=f"account-unprotected/{account}/{state.rule}",
        )

    def account_seen(self, account: str, rule: str) -> Message:
        return self._message(
            "account_protected",
            Severity.INFO,
            f"Account {masked(account)}: {rule} is guarded again",
            recovery_of=f"account-unprotected/{account}/{rule}",
        )

    def may_be_assigned(self, position: Position, warning: RiskSeen, mark: str) -> Message:
        label = position.instrument.label
        return self._message(
            "assignment_risk",
            Severity.WARNING,
            f"{position.quantity:f} {label} may be assigned: {warning.risk}",
            warning.text,
            f"Nothing is closed for it. To close it: position-manager close '{label}'",
            fields=(("account", masked(position.account)),),
            dedupe_key=f"assignment/{position.account}/{label}/{warning.risk}/{mark}",
        )

    def opened_in_cooldown(
        self, account: str, position: Position, stop: str, since: datetime, ends: datetime, spared: str
    ) -> Message:
        label = position.instrument.label
        becomes = f"It stays open: {spared}." if spared else "It is being closed."
        return self._message(
            "cooldown",
            Severity.ALERT,
            f"{position.quantity:f} {label} opened in a cooldown of {position.instrument.symbol}",
            f"{stop} was filled at {since:%H:%M:%S} UTC; the cooldown ends at {ends:%Y-%m-%d %H:%M:%S} UTC. {becomes}",
            f"To end it: position-manager rearm '{position.instrument.symbol}'",
            fields=(("account", masked(account)),),
            dedupe_key=f"cooldown/{account}/{label}/{self.now.isoformat()}",
        )

    def opened_all_the_same(
        self, account: str, label: str, before: Decimal, quantity: Decimal, rules: str, at: datetime
    ) -> Message:
        return self._message(
            "account_opened",
            Severity.ALERT,
            f"{label}: {before} to {quantity} in {masked(account)}, although {rules} has fired",
            "It is guarded by its own rules and stays open. To end the account stop: position-manager rearm account",
            dedupe_key=f"account-opened/{account}/{label}/{at.isoformat()}",
        )
