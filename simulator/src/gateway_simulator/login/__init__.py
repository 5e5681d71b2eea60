"""What IBC and the gateway do around a login, as seen in the log."""
