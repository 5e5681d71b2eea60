"""The files of a run: the breaker and the session, which outlive it, and the published state of the login."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway_watch import session
from gateway_watch.breaker import Breaker, BreakerFile, newest_change
from gateway_watch.instance import Instance
from gateway_watch.session import Session
from host_service import gateway_login
from host_service.gateway_login import GatewayLogin


class RunFiles:
    """``breaker`` and ``session`` as they were stored last. A write that fails is logged and does not end the gateway.

    ``runtime`` is the directory in which the state of the login is published; None publishes no file. ``on_published``
    is called with each state.
    """

    def __init__(
        self,
        instance: Instance,
        runtime: Path | None,
        say: Callable[[str], None],
        on_published: Callable[[GatewayLogin], None] = lambda _login: None,
    ) -> None:
        self._instance = instance
        self._runtime = runtime
        self._say = say
        self._on_published = on_published
        self._breaker_file = BreakerFile(instance.breaker_file, instance.name)
        self.breaker = Breaker()
        self.session = remembered_session(instance)

    def load_breaker(self) -> None:
        """Read the breaker; a correction since the last refused login closes it. Raises BreakerFileError."""
        breaker = self._breaker_file.read()
        files = self._instance.credential_files if breaker.about_credentials else self._instance.correctable_files
        self.breaker = breaker.corrected(newest_change(files))
        if self.breaker is not breaker:
            self._say("gateway-watch: the configuration was changed since the last refused login; counting from zero")
            self.store_breaker(self.breaker)

    def store_breaker(self, breaker: Breaker) -> None:
        self.breaker = breaker
        try:
            self._breaker_file.write(breaker)
        except OSError as error:
            self._say(f"gateway-watch: the breaker could not be stored, so a restart loses its state: {error}")

    def store_session(self, new: Session) -> None:
        self.session = new
        try:
            session.write(self._instance.session_file, new)
        except OSError as error:
            self._say(f"gateway-watch: the session's file could not be written: {error}")

    def publish(self, login: GatewayLogin) -> None:
        """Report the state of the login to the services that use the gateway."""
        self._on_published(login)
        if self._runtime is None:
            return
        try:
            gateway_login.write(self._runtime, login)
        except OSError as error:
            self._say(f"gateway-watch: the state of the login could not be published: {error}")

    def credentials_proven(self) -> bool:
        """Whether IBKR has accepted a login with the credentials as they are."""
        changed, ready = newest_change(self._instance.credential_files), self.session.last_restart
        return changed is not None and ready is not None and changed < ready


def remembered_session(instance: Instance) -> Session:
    """The session, with what the next full login needs: a restart that keeps it can have removed or brought the secret
    of the authenticator app since the last login."""
    remembered = session.read(instance.session_file)
    if not instance.totp:
        return remembered.without_codes()
    brought = newest_change([instance.secrets_dir / "totp_secret"])
    if brought is None or remembered.since is None or brought <= remembered.since:
        return remembered
    return remembered.with_new_codes()
