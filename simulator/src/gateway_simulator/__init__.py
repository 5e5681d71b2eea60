"""A simulator of IB Gateway in its container: login, log, window and TWS API."""
