"""The server versions from which on a message differs from what it was before."""

FA_PROFILE_DROPPED = 177
"""Orders, asked for and told, lose the profile field among those that allot them to a group's accounts."""

PENDING_PRICE_REVISION = 178
"""Executions end with a flag that tells whether their price may still be revised."""
