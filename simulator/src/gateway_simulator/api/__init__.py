"""The TWS API: bytes, messages, sessions and sockets."""
