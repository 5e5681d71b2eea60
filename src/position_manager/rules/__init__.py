"""What the rules say about what is held: pure decisions, and the guard that keeps what they need."""
