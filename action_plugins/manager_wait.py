"""Shows what the manager_wait module waits for while it runs."""

from __future__ import annotations

from typing import Any

from ansible.plugins.loader import action_loader

Base: Any = action_loader.get("operator_progress", class_only=True)


class ActionModule(Base):
    """Action of the module manager_wait."""
