"""Output for people: messages, status, explanations, the summary of a day."""
