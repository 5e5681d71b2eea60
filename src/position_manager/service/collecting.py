"""When Python's garbage collector goes through what the service has created.

That takes longer the more there is, and an order must not wait for it. So what exists once the connection is ready is
kept out of its way. What a session has created is no exception: the collector would never find it after the end of the
session, a graph of objects that refer to each other for each order and each position. So it is given back to the
collector while there is no session, when nothing can wait for it.
"""

from __future__ import annotations

import gc

from position_manager.connection_state import Phase

NO_SESSION = (Phase.DOWN, Phase.AUTH_NEEDED)


class Collecting:
    """To be called in each loop, with the state of the link."""

    def __init__(self) -> None:
        self._apart = False
        self._started = False

    def on_loop(self, link: Phase) -> None:
        if link is Phase.READY and not self._apart:
            if not self._started:
                # Much of what a start creates is not needed after it.
                gc.collect()
            self._apart = self._started = True
            gc.freeze()
        elif link in NO_SESSION and self._apart:
            self.stop()
            gc.collect()

    def stop(self) -> None:
        """The collector goes through everything again."""
        self._apart = False
        gc.unfreeze()
