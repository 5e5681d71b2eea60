"""Upgrades of a host's gateway image and release: what to do, what to preserve for the way back, and their records.

Uses only the standard library and relative imports: the Ansible module upgrade_step carries it to the host and
runs it with the host's Python, because the release is one of the things that it replaces.
"""
