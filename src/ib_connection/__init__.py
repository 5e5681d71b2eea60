"""Connection to an IB Gateway's API, and the causes of its failures.

The deploy verifies with the same code that the services connect with, so that "verified" means the same in both.

``probe`` the raw version handshake, which uses no client id; ``handshake`` one attempt with ib_insync; ``ib_library``
what of ib_insync is used, and how it is loaded; ``retry`` when to try again; ``causes`` why an attempt failed, with
the remedy; ``codes`` IB's own message codes; ``accounts`` the kind of an account and how to show its number.
"""
