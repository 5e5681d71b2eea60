"""The loop that handles broker events, evaluates the rules and acts; the state of its connection."""
