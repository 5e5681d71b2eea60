"""The browser that the page is tested in: the distribution's Chromium, without a window."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

AXE = Path(__file__).parents[2] / "dashboard_web/node_modules/axe-core/axe.min.js"
PROGRAMS = ("chromium-headless-shell", "chromium")


NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
"""Chromium ends all that it loads, from this machine too, when an interface appears on the machine, as a container's
does. What was ended so is loaded again."""
ATTEMPTS = 5


def launch_options() -> dict[str, Any]:
    """How Playwright starts it. Without a Chromium of the distribution it takes its own."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    # Chromium refuses to start as root with its sandbox; the tests load only pages of this machine.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    return {"executable_path": program, "args": arguments}
