"""The position manager: guards positions with rules, closes what a rule requires, and never sends an order twice.

Each folder imports only the ones below it; pyproject.toml has their order. From the top: commands start in ``cli``;
``replay`` and ``drill`` are trial runs; ``service`` runs the engine under systemd; ``engine`` handles broker events and
acts; ``reports`` is the output for people; ``connection_state`` is what the manager knows of its connection;
``brokers`` has the port to a gateway and to a simulated market; ``config`` has the settings; ``journal`` outlasts the
process; ``account``, ``orders`` and ``rules`` decide; ``sessions`` knows when markets trade; ``model`` has the words of
all of them.
"""
