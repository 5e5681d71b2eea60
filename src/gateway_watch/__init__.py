"""Watches one IB Gateway container: its health, its login and what to do when either fails."""
