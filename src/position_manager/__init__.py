"""The position manager: guards positions with rules, closes what a rule says, and never sends an order twice.

``engine`` hears the broker and acts; ``rules`` decides, from ``model`` alone; ``orders`` carries a decision out and
proves its end; ``journal`` outlasts the process; ``brokers`` has the port to a gateway and to a simulated market;
``sessions`` knows when markets trade; ``service`` runs it under systemd; ``reports`` is what people are told;
``replay`` and ``drill`` try it out. Commands begin in ``cli``, settings in ``config``.
"""
