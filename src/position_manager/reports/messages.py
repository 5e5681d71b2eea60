"""The notifications, message by message: words only, nothing is decided or sent here.

Messages with the same dedupe key are sent once; one with ``recovery_of`` ends the incident of that key, and of all keys
below it (``key/…``). Each key names one condition, so that no message is left out because of another one: a loss of the
connection, a farm, each request for manual action, each gate that refuses, each cause of being unprotected has its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ib_connection.accounts import masked, masked_list
from notifications.message import Message, Severity
from position_manager.model import Quote
from position_manager.orders.closing import Closing
from position_manager.orders.evidence import Cause
from position_manager.orders.intents import Intent, Side, State
from position_manager.orders.ladder import CapReached

CONNECTION = "connection"


@dataclass(frozen=True)
class Author:
    """Who writes, and when: the time is asked for at each message."""

    mode: str
    now: datetime

    def _message(
        self,
        kind: str,
        severity: Severity,
        title: str,
        *lines: str,
        fields: tuple[tuple[str, str], ...] = (),
        dedupe_key: str = "",
        recovery_of: str = "",
    ) -> Message:
        title = f"[{self.mode}] {title}"
        return Message(kind, severity, title, self.now, lines, fields, dedupe_key, recovery_of)

    # ----- the manager and its connection

    def started(self, version: str, poll_seconds: Decimal) -> Message:
        return self._message(
            "started", Severity.INFO, "Position manager started", f"version {version}, poll every {poll_seconds} s"
        )

    def stopped(self, open_intents: int) -> Message:
        lines = (f"{open_intents} orders are still under way",) if open_intents else ()
        return self._message("stopped", Severity.WARNING, "Position manager stopped: nothing is guarded", *lines)

    def connected(self, where: str, accounts: tuple[str, ...], positions: int) -> Message:
        fields = (("accounts", masked_list(list(accounts))), ("positions", str(positions)))
        return self._message("connected", Severity.INFO, f"Connected to {where}", fields=fields)

    def lost(self, why: str) -> Message:
        return self._message(
            "connection_lost", Severity.WARNING, "Not connected: nothing is guarded", why, dedupe_key=CONNECTION
        )

    def back(self, what: str) -> Message:
        return self._message("connection_back", Severity.INFO, "Connected again", what, recovery_of=CONNECTION)

    def page(self, text: str, about: str) -> Message:
        return self._message(
            "page", Severity.ALERT, "A person is needed", text, dedupe_key=f"{CONNECTION}/page/{about}"
        )

    def farm_down(self, farm: str, text: str) -> Message:
        title = f"Data farm {farm} is down: what it quotes is not guarded"
        return self._message("farm_down", Severity.WARNING, title, text, dedupe_key=f"farm/{farm}")

    def farm_up(self, farm: str, text: str) -> Message:
        return self._message(
            "farm_up", Severity.INFO, f"Data farm {farm} is up again", text, recovery_of=f"farm/{farm}"
        )

    def farm_forgotten(self, farm: str) -> Message:
        title = f"Data farm {farm}: unknown, the session that reported it as down has ended"
        text = "The next session reports it again if it is still down."
        return self._message("farm_unknown", Severity.INFO, title, text, recovery_of=f"farm/{farm}")

    def restarted(self) -> tuple[Message, ...]:
        """What ends with a run of the manager without being seen to end. Sent if it was reported: else a new incident
        would count as a repetition of the old one."""
        text = "The position manager was restarted: what is down or unprotected is reported again."
        ends = (
            ("farm_unknown", "Data farms: unknown", "farm"),
            ("quotes_unknown", "Market data: unknown", "quotes"),
            ("protection_unknown", "Unprotected positions: unknown", "unprotected"),
            ("account_protection_unknown", "Unprotected account stops: unknown", "account-unprotected"),
        )
        return tuple(self._message(kind, Severity.INFO, title, text, recovery_of=key) for kind, title, key in ends)

    def notice(self, text: str) -> Message:
        return self._message("notice", Severity.WARNING, text, dedupe_key=f"notice/{text}")

    def notice_over(self, text: str) -> Message:
        return self._message("notice_over", Severity.INFO, text)

    def suspended(self, label: str, con_id: int, why: str) -> Message:
        return self._message(
            "quotes_suspended",
            Severity.ALERT,
            f"{label} has no live quotes: its price rules are suspended",
            why,
            "Its market data are requested again every 30 s. End the competing session, or check the subscription.",
            dedupe_key=f"quotes/{con_id}",
        )

    def quoted_again(self, label: str, con_id: int) -> Message:
        return self._message(
            "quotes_restored", Severity.INFO, f"{label} has live quotes again", recovery_of=f"quotes/{con_id}"
        )

    def journal_fault(self, text: str) -> Message:
        return self._message(
            "journal_fault",
            Severity.ALERT,
            "The journal cannot be written: nothing is sent",
            text,
            dedupe_key="journal",
        )

    def journal_works(self) -> Message:
        return self._message("journal_works", Severity.INFO, "The journal can be written again", recovery_of="journal")

    def halted(self, reason: str, remedy: str) -> Message:
        return self._message(
            "halted", Severity.ALERT, "Halted: nothing is sent", reason, f"To end it: {remedy}", dedupe_key="halt"
        )

    def resumed(self) -> Message:
        return self._message("resumed", Severity.INFO, "Resumed: orders may be sent again", recovery_of="halt")

    def new_account(self, account: str) -> Message:
        return self._message(
            "new_account",
            Severity.ALERT,
            f"New account {masked(account)}: nothing in it is guarded",
            "The session manages an account that the journal does not know. The others are guarded as before.",
            f"To guard it too: position-manager accept-account '{masked(account)}'. To leave it out for good, name the "
            "others in the configuration (accounts).",
            dedupe_key=f"new-account/{account}",
        )

    def account_accepted(self, account: str, by: str) -> Message:
        title = f"Account {masked(account)} was accepted by {by}: it is guarded too"
        return self._message("account_accepted", Severity.INFO, title, recovery_of=f"new-account/{account}")

    def rival(self, reason: str, remedy: str) -> Message:
        return self._message(
            "another_manager",
            Severity.ALERT,
            "Another position manager guards this account: nothing is sent",
            reason,
            f"What to do: {remedy}.",
            dedupe_key="rival",
        )

    def rival_gone(self) -> Message:
        return self._message(
            "manager_alone",
            Severity.INFO,
            "No other position manager is seen any more: orders may be sent again",
            recovery_of="rival",
        )

    def reloaded(self) -> Message:
        return self._message("reloaded", Severity.INFO, "New rules are in force")

    def reload_refused(self, faults: str) -> Message:
        return self._message(
            "reload_refused", Severity.WARNING, "The new configuration is refused, the old one stays", faults
        )

    # ----- positions

    def seen(self, label: str, account: str, quantity: Decimal) -> Message:
        return self._message(
            "position_opened",
            Severity.INFO,
            f"New position: {quantity} {label}",
            fields=(("account", masked(account)),),
        )

    def left_out(self, label: str, account: str, quantity: Decimal, text: str) -> Message:
        return self._message(
            "not_supported",
            Severity.ALERT,
            f"{label} cannot be guarded",
            f"{quantity} held: {text}. Watch it yourself.",
            fields=(("account", masked(account)),),
            dedupe_key=f"not supported/{account}/{label}",
        )

    def moved(
        self, label: str, account: str, before: Decimal, quantity: Decimal, cause: Cause, known: tuple[str, ...] = ()
    ) -> Message:
        kind = "position_closed" if not quantity else "position_opened" if not before else "position_changed"
        severity = Severity.INFO if cause is Cause.USER else Severity.WARNING
        title, lines = f"{label}: {before} to {quantity}, {cause}", list(known)
        if cause is Cause.REOPENED and before == quantity:
            # Only another average cost shows it. If the broker has corrected the cost, this takes protection away.
            severity = Severity.ALERT
            title = f"{label}: taken for closed and opened again, as its average cost has changed"
            lines.append(
                "Its trailing best, breakeven and any decision to close have been reset. If the position is the same "
                "and only its cost was corrected, check that its stop is where you want it."
            )
        return self._message(kind, severity, title, *lines, fields=(("account", masked(account)),))

    def crossed(self, label: str, account: str, quantity: Decimal) -> Message:
        return self._message(
            "crossed_zero",
            Severity.ALERT,
            f"{label} went through zero: {quantity} held now",
            "Somebody else closed it while the manager's close was being filled, so it was closed twice. What is held "
            "now is a new position on the other side, and its rules guard it as such.",
            f"If you do not want it: position-manager close '{label}'. To close by hand, halt the manager first "
            "(position-manager halt), or let it close for you (position-manager close).",
            fields=(("account", masked(account)),),
        )

    def unexplained(self, label: str, account: str, expected: Decimal, reported: Decimal) -> Message:
        return self._message(
            "position_unexplained",
            Severity.ALERT,
            f"{label} is locked: {reported} held, {expected} expected, nothing explains it",
            f"Check the account, then: position-manager release '{label}'",
            fields=(("account", masked(account)),),
        )

    def locked(self, label: str, account: str, reason: str) -> Message:
        return self._message(
            "locked",
            Severity.ALERT,
            f"{label} is locked: {reason}",
            f"Check its orders at the broker, then: position-manager release '{label}'",
            fields=(("account", masked(account)),),
            dedupe_key=f"locked/{account}/{label}/{reason}",
        )

    def released(self, label: str, account: str, by: str) -> Message:
        return self._message(
            "released", Severity.INFO, f"{label} was released by {by}", recovery_of=f"locked/{account}/{label}"
        )

    def unprotected(self, name: str, key: str, cause: str, text: str, seconds: float) -> Message:
        return self._message(
            "unprotected",
            Severity.ALERT,
            f"{name} is unprotected for {seconds:.0f} s",
            text,
            dedupe_key=f"unprotected/{key}/{cause}",
        )

    def protected(self, name: str, key: str, seconds: float) -> Message:
        return self._message(
            "protected",
            Severity.INFO,
            f"{name} is guarded again after {seconds:.0f} s",
            recovery_of=f"unprotected/{key}",
        )

    # ----- closing

    def fired(self, closing: Closing, quotes: dict[str, Quote]) -> Message:
        fields = tuple((label, f"bid {quote.bid} ask {quote.ask}") for label, quote in quotes.items())
        return self._message(
            "rule_fired",
            Severity.ALERT,
            f"Closing {'a part of ' if closing.leaves else ''}{closing.name}: {closing.rule}",
            closing.text,
            fields=fields,
        )

    def shadowed(self, closing: Closing, quotes: dict[str, Quote]) -> Message:
        fields = tuple((label, f"bid {quote.bid} ask {quote.ask}") for label, quote in quotes.items())
        return self._message(
            "shadow",
            Severity.ALERT,
            f"Would close {'a part of ' if closing.leaves else ''}{closing.name}: {closing.rule}",
            closing.text,
            fields=fields,
        )

    def sent(self, intent: Intent, label: str) -> Message:
        return self._message(
            "order_working",
            Severity.INFO,
            f"Order works: {_order(intent, label)}",
            fields=(("permId", str(intent.perm_id)),),
        )

    def executed(self, intent: Intent, label: str) -> Message:
        over = intent.state is State.FILLED
        last = f"{intent.fills[-1].price}" if intent.fills else "an unknown price"
        title = f"{'Filled' if over else 'Partly filled'}: {_order(intent, label)}"
        return self._message(
            "order_filled" if over else "order_partial",
            Severity.INFO,
            title,
            f"{intent.filled} of {intent.quantity}, last at {last}",
        )

    def rejected(self, intent: Intent, label: str) -> Message:
        return self._message("order_rejected", Severity.ALERT, f"Rejected: {_order(intent, label)}", intent.reason)

    def unknown(self, intent: Intent, label: str) -> Message:
        return self._message(
            "order_unknown",
            Severity.WARNING,
            f"Outcome unknown, asking the broker: {_order(intent, label)}",
            intent.reason,
        )

    def lost_order(self, intent: Intent, label: str) -> Message:
        return self._message("order_lost", Severity.WARNING, f"Never arrived: {_order(intent, label)}", intent.reason)

    def capped(self, closing: Closing, label: str, cap: CapReached) -> Message:
        return self._message(
            "cap_reached",
            Severity.ALERT,
            f"{label} cannot be closed within its bounds",
            str(cap),
            f"To approve a price: position-manager close '{label}' --emergency --limit PRICE",
            dedupe_key=f"capped/{closing.unit}/{label}/{cap.bound}",
        )

    def still_held(self, closing: Closing, since: timedelta, phases: list[str]) -> Message:
        minutes = since.total_seconds() / 60
        return self._message(
            "still_held",
            Severity.ALERT,
            f"Fired, still held: {closing.name} after {minutes:.0f} min ({closing.rule})",
            *phases,
            f"To approve a price: position-manager close '{closing.name}' --emergency --limit PRICE",
            # Each repetition has a key of its own, or it would be counted and not sent.
            dedupe_key=f"held/{closing.unit}/{closing.decided.isoformat()}/{since.total_seconds():.0f}",
        )

    def held_no_longer(self, closing: Closing) -> Message:
        return self._message(
            "held_no_longer",
            Severity.INFO,
            f"No longer waiting to be closed: {closing.name}",
            recovery_of=f"held/{closing.unit}",
        )

    def escalated(self, closing: Closing, percent: Decimal) -> Message:
        return self._message(
            "escalated",
            Severity.ALERT,
            f"{closing.name} is still not closed: up to {percent} % from the middle are allowed now",
            closing.text,
        )

    def anchored(self, closing: Closing, label: str, before: Decimal, quote: Quote, why: str) -> Message:
        return self._message(
            "ladder_restarted",
            Severity.WARNING,
            f"{label}: the price ladder starts again at {quote.mid}, it was at {before}",
            why,
            fields=(("unit", closing.name), ("bid", str(quote.bid)), ("ask", str(quote.ask))),
        )

    def refused(self, closing: Closing, label: str, gates: str, text: str) -> Message:
        return self._message(
            "refused",
            Severity.ALERT,
            f"{label} cannot be closed now",
            text,
            dedupe_key=f"refused/{closing.unit}/{label}/{gates}",
        )

    def closed(self, closing: Closing, left: tuple[str, ...] = ()) -> Message:
        lines = (f"Left to expire: {', '.join(left)}",) if left else ()
        return self._message(
            "position_closed",
            Severity.INFO,
            f"Closed: {closing.name}",
            f"{closing.rule}, decided {closing.decided:%H:%M:%S} UTC",
            *lines,
        )

    def worth_again(self, name: str, account: str, worth: Decimal) -> Message:
        return self._message(
            "wing_worth_again",
            Severity.WARNING,
            f"{name} was left to expire and is worth {worth:.4f} again: its rules hold",
            fields=(("account", masked(account)),),
        )

    def closed_in_part(self, closing: Closing) -> Message:
        return self._message(
            "closed_in_part",
            Severity.INFO,
            f"Closed a part of {closing.name}",
            f"{closing.rule}, level {closing.level}, decided {closing.decided:%H:%M:%S} UTC",
        )

    def leg_by_leg(self, closing: Closing, why: str) -> Message:
        title = f"{closing.name} is closed leg by leg from now on, not by a combination"
        return self._message("leg_by_leg", Severity.WARNING, title, why)

    def level_passed(self, name: str, level: int, text: str) -> Message:
        title = f"{name}: partial target {level} reached, its part is less than one contract"
        return self._message("partial_target_passed", Severity.INFO, title, text)

    def withdrawn(self, closing: Closing, why: str) -> Message:
        return self._message("closing_withdrawn", Severity.WARNING, f"No longer closing {closing.name}", why)

    def foreign_cancelled(self, label: str, account: str, order: str, why: str) -> Message:
        return self._message(
            "exit_cancelled",
            Severity.ALERT,
            f"{label}: your exit order is being cancelled: {order}",
            f"{why} (orders.foreign_exits: cancel). Once that is proven, the manager's own order follows.",
            "If the decision is withdrawn meanwhile, that order does not come back: place it again if you want it.",
            fields=(("account", masked(account)),),
        )

    def foreign_stays(self, label: str, account: str, order: str, why: str) -> Message:
        return self._message(
            "exit_not_cancelled",
            Severity.ALERT,
            f"{label}: your exit order could not be cancelled: {order}",
            why,
            "What it does not cover is closed. Cancel it in TWS, the Client Portal, or the program that it belongs to.",
            fields=(("account", masked(account)),),
            dedupe_key=f"foreign exit/{account}/{label}/{order}",
        )

    def stray(self, label: str, ref: str) -> Message:
        return self._message(
            "stray_order", Severity.ALERT, f"{label}: order {ref} is live and should not be; it is being cancelled"
        )


def _order(intent: Intent, label: str) -> str:
    verb = "buy" if intent.side is Side.BUY else "sell"
    return f"{verb} {intent.quantity} {label} at {intent.limit}"
