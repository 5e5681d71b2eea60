"""Shows each step from the login to the verified API while the gateway_verified module runs."""

from __future__ import annotations

from typing import Any

from ansible.plugins.loader import action_loader

Base: Any = action_loader.get("operator_progress", class_only=True)


class ActionModule(Base):
    """Action of the module gateway_verified."""
