"""The receiver of Alertmanager: alerts become notifications, and a heartbeat that stops is noticed."""
