"""The server versions from which on a message differs from what it was before."""

FA_PROFILE_DROPPED = 177
"""Orders, in requests and in answers, lose the profile field among those that allot them to a group's accounts."""

PENDING_PRICE_REVISION = 178
"""Executions end with a flag for whether their price may still be revised."""
