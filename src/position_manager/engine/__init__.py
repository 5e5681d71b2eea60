"""The loop that handles broker events, evaluates the rules and acts: the guard, closes, resting stops, accounts."""
