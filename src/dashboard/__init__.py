"""The status page: reads what the services on the host publish and store, and serves it on 127.0.0.1, read-only."""
