"""Report a unit that systemd cannot start, and start it again later.

A unit that fails before its program runs (a missing credential, program, directory or user) has nobody to report it.
This package runs from a copy outside of the release and with the host's own Python, and needs the standard library
only: a damaged release is one of the causes it reports.
"""
