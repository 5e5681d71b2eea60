"""The port to a broker, and what is behind it: a gateway (``ib_*``) or a simulated market (``sim_*``)."""
