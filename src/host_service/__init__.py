"""What every service on the host needs: notifications to systemd, and state files that are always complete."""
