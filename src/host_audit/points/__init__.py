"""The points of the audit by subject. Each module has `check(host)`, which yields them in order."""
