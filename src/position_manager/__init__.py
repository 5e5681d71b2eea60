"""The position manager: guards positions with rules, closes what a rule requires, and never sends an order twice.

``engine`` handles broker events and acts; ``rules`` decides, from ``model`` alone; ``orders`` carries a decision out
and proves its end; ``journal`` outlasts the process; ``brokers`` has the port to a gateway and to a simulated market;
``sessions`` knows when markets trade; ``service`` runs it under systemd; ``reports`` is the output for people;
``replay`` and ``drill`` are trial runs. Commands start in ``cli``, settings in ``config``.
"""
