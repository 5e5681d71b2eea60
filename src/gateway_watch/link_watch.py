"""Holds the watch's own API sessions and draws the conclusions: is the gateway connected to IBKR, does a session work?

The I/O around `gateway_watch.ibkr_link`. The state goes to `login.json` in the unit's runtime directory, where
`status`, `verify` and the programs that use the gateway read it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway_watch.api_session import ApiSession
from gateway_watch.decision import RETRY, Answers, End, Reason
from gateway_watch.ibkr_link import (
    Action,
    ApiLink,
    Evidence,
    LinkState,
    Outage,
    Policy,
    decide,
    outage_after,
    together,
)
from gateway_watch.instance import Api, Instance
from host_service import gateway_login
from host_service.gateway_login import IbkrLink
from host_service.statefile import write_json
from notifications.message import Message, Severity

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0

CAUSE = "ibkr_link_lost"
_TROUBLE = "ibkr_link"
_HANG = "new_sessions_hang"


@dataclass(frozen=True)
class LinkNews:
    """The link of one of the APIs has changed."""

    mode: str


@dataclass
class LinkWatch:
    """The sessions of one run of the gateway, one for each API."""

    instance: Instance
    say: Callable[[str], None]
    notify: Callable[[Message], object]
    runtime: Path | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _links: dict[str, ApiLink] = field(init=False)
    _sessions: dict[str, ApiSession] = field(default_factory=dict, init=False)
    _outage: Outage | None = field(default=None, init=False)
    _since: datetime | None = field(default=None, init=False)
    _reported: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)
    _hang_notified: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._links = {api.mode: ApiLink() for api in self.instance.apis}
        self._policy = Policy(
            timedelta(minutes=self.instance.link_lost_minutes), timedelta(minutes=self.instance.link_restart_minutes)
        )
        self._restarted = self._read_restarted()

    async def sessions(self, api: Api) -> AsyncGenerator[LinkNews, None]:
        """Hold a session with one API until `close`; each change of its link."""
        pause = FIRST_PAUSE
        while not self._closed:
            session = ApiSession(
                api.host, api.port, self.instance.watch_client_id, ask_orders=not self.instance.read_only_api
            )
            self._sessions[api.mode] = session
            async with aclosing(session.events()) as events:
                async for event in events:
                    before = self._links[api.mode]
                    after = before.after(event)
                    self._links[api.mode] = after
                    if after.open:
                        pause = FIRST_PAUSE
                    if before != after:
                        self._report_change(api, before, after)
                        yield LinkNews(api.mode)
            if self._closed:
                return
            await self.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def close(self) -> None:
        """End all sessions, so that the gateway which is about to stop has one client fewer to part from."""
        self._closed = True
        for session in self._sessions.values():
            await session.close()

    def connected(self, mode: str) -> bool | None:
        """What one API's session proves about its login's connection to IBKR; None for nothing."""
        link = self._links[mode]
        if link.state is LinkState.CONNECTED:
            return True
        return False if link.severed else None

    @property
    def held(self) -> bool:
        """Whether the sessions that were opened earlier answer."""
        return bool(self._links) and all(link.open and link.greeted for link in self._links.values())

    @property
    def orders_refused(self) -> bool | None:
        """Whether an API refuses orders (read-only); None while not all have answered."""
        answers = [link.orders_refused for link in self._links.values()]
        if True in answers:
            return True
        return None if None in answers else False

    def report(self) -> IbkrLink:
        """The link as those who use the gateway read it."""
        link = together(self._links.values())
        return IbkrLink(link.state.value, self._since, link.text)

    def judge(self, *, tries: bool, planned: bool) -> End | None:
        """Notify people of a lost connection when it is time; the end of the run if a restart is the way out.

        `tries`: the gateway reconnects by itself. `planned`: a planned restart explains the loss.
        """
        link, now = together(self._links.values()), self.now()
        state = LinkState.LOST if tries else link.state
        self._reported = link.state is LinkState.LOST or (self._reported and self._outage is not None)
        if not tries and link.client_id_in_use and not self._reported:
            # No session will report the end of an outage that only windows have shown.
            state = LinkState.CONNECTED
        before, self._outage = self._outage, outage_after(self._outage, state, now)
        if self._outage is None:
            if before is not None:
                self._recovered(before, now)
            if link.state is LinkState.CONNECTED and self._restarted is not None:
                self._store_restarted(None)
            return None
        evidence = Evidence(
            tries=tries,
            elsewhere=self._connected_elsewhere(),
            severed=link.severed,
            restarted=self._restarted is not None,
            planned=planned,
        )
        match decide(self._outage, self._policy, evidence, now):
            case Action.NOTIFY:
                self._outage = replace(self._outage, notified=True)
                self.say(f"gateway-watch: no connection to IBKR since {self._outage.since:%H:%M:%S} UTC ({link.text})")
                self.notify(self._lost(self._outage, link, now))
            case Action.RESTART:
                self._store_restarted(now)
                return self._end(self._outage, now, elsewhere=evidence.elsewhere)
            case Action.NONE:
                pass
        return None

    def spares(self, answers: Answers, limit: int) -> bool:
        """Whether a gateway whose API answers no new session is left running, because older sessions work."""
        if not answers.failures:
            self._hang_over()
        if answers.failures < limit or not self.held:
            return False
        if not self._hang_notified:
            self._hang_notified = True
            text = self._hang_text(answers)
            self.say(f"gateway-watch: {text}")
            self.notify(
                Message(
                    _HANG,
                    Severity.WARNING,
                    f"{self.instance.name}: new connections to the API get no answer",
                    self.now(),
                    (text,),
                    self._fields,
                    dedupe_key=_HANG,
                )
            )
        return True

    def _hang_text(self, answers: Answers) -> str:
        restart = self.instance.calendar.next_restart(self.now())
        planned = f"Its next planned restart, at {restart[0]:%a %H:%M %Z}, ends this. " if restart else ""
        return (
            f"New connections to the API get no answer ({answers.detail}), but a session that was opened earlier "
            f"works, and so does a position manager's. The gateway is not restarted under it. {planned}"
            "To restart it now: ansible-playbook restart.yml"
        )

    def _hang_over(self) -> None:
        if self._hang_notified:
            self._hang_notified = False
            title = f"{self.instance.name}: the API answers new connections again"
            self.notify(Message("new_sessions_answer", Severity.INFO, title, self.now(), recovery_of=_HANG))

    def _report_change(self, api: Api, before: ApiLink, after: ApiLink) -> None:
        if (before.state, before.client_id_in_use) == (after.state, after.client_id_in_use):
            return
        self._since = self.now()
        self.say(f"gateway-watch: {api.mode} API: {after.text}")
        if after.client_id_in_use and not before.client_id_in_use:
            self.say(
                f"gateway-watch: another client uses the id {self.instance.watch_client_id}, so the connection to IBKR "
                "is not known. Choose an unused ib_gateway_watch_client_id and deploy again."
            )

    def _recovered(self, outage: Outage, now: datetime) -> None:
        lasted = (now - outage.since).total_seconds()
        self.say(f"gateway-watch: connected to IBKR again after {lasted:.0f} s")
        if outage.notified:
            title = f"{self.instance.name}: connected to IBKR again"
            lines = (f"The connection was lost for {lasted / 60:.0f} minutes.",)
            self.notify(Message("ibkr_link_up", Severity.INFO, title, now, lines, self._fields, recovery_of=_TROUBLE))

    def _lost(self, outage: Outage, link: ApiLink, now: datetime) -> Message:
        since = outage.since.astimezone(self.instance.timezone)
        return Message(
            CAUSE,
            Severity.ALERT,
            f"{self.instance.name}: not connected to IBKR since {since:%H:%M} ({self.instance.timezone.key})",
            now,
            (
                f"The gateway itself runs; its API reports: {link.text}. It reconnects by itself, and nothing is "
                "restarted while it tries. IBKR's own status: https://www.interactivebrokers.com/en/software/systemStatus.php",
            ),
            self._fields,
            dedupe_key=f"{_TROUBLE}/lost",
        )

    def _end(self, outage: Outage, now: datetime, *, elsewhere: bool) -> End:
        minutes = (now - outage.since).total_seconds() / 60
        known = "another gateway on this host is connected" if elsewhere else "no outage of IBKR's servers is expected"
        text = f"The gateway has not been connected to IBKR for {minutes:.0f} minutes and does not try, while {known}."
        return End(RETRY, Reason(CAUSE, text, "It is restarted once; after that it is left alone until it connects."))

    def _connected_elsewhere(self) -> bool:
        if self.runtime is None:
            return False
        files = self.runtime.parent.glob(f"*/{gateway_login.NAME}")
        others = [gateway_login.read(file) for file in files if file.parent != self.runtime]
        return any(
            other is not None and other.ibkr is not None and other.ibkr.state == LinkState.CONNECTED for other in others
        )

    @property
    def _restart_file(self) -> Path:
        return self.instance.state_dir / "link-restart.json"

    def _read_restarted(self) -> datetime | None:
        try:
            return datetime.fromisoformat(json.loads(self._restart_file.read_bytes())["at"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            # A restart too few is better than one in a loop.
            self.say(f"gateway-watch: {self._restart_file} cannot be read, so no restart for a lost link: {error}")
            return self.now()

    def _store_restarted(self, at: datetime | None) -> None:
        self._restarted = at
        try:
            if at is None:
                self._restart_file.unlink(missing_ok=True)
            else:
                write_json(self._restart_file, {"at": at.isoformat()})
        except OSError as error:
            self.say(f"gateway-watch: {self._restart_file} could not be written: {error}")

    @property
    def _fields(self) -> tuple[tuple[str, str], ...]:
        return (("Instance", self.instance.name), ("Mode", self.instance.trading_mode))
