"""Passes each heartbeat on to a service outside the host, which notices when the whole host is gone."""

from __future__ import annotations

import logging
import threading

import requests

SECONDS = 10.0
_log = logging.getLogger(__name__)


class Forwarder:
    """Sends GET requests from a thread of its own, so that a slow service delays nothing. Failures are logged once,
    and without the address, which is a secret."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._wanted = threading.Event()
        self._ending = False
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self) -> None:
        """Send one soon; several calls in the meantime are one."""
        self._wanted.set()

    def stop(self, seconds: float) -> None:
        self._ending = True
        self._wanted.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            if self._ending:
                return
            self._wanted.clear()
            fault = self._request()
            if fault and not self._failed:
                _log.warning("the heartbeat does not arrive at its external address: %s", fault)
            elif not fault and self._failed:
                _log.info("the heartbeat arrives at its external address again")
            self._failed = bool(fault)

    def _request(self) -> str:
        """Why it failed; empty if it did not."""
        try:
            answer = requests.get(self._url, timeout=SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            # Its text holds the address.
            return type(error).__name__
        return "" if answer.ok and not answer.is_redirect else f"HTTP {answer.status_code}"
