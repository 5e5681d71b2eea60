"""The engine as a systemd service, and what others ask of it while it runs."""
