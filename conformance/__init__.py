"""Runs the real login controllers against a stand-in for the gateway's windows; see docs/conformance.md."""
