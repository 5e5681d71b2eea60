"""Rules about a whole account, and about what was closed before: pure decisions, and their configuration."""
