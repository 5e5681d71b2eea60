"""The loop that hears the broker, looks at the rules and acts; the state of its connection."""
