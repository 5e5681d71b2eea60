"""What every service on the host needs: talk with systemd, and files of state that are always whole."""
