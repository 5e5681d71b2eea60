"""Rules applied to what is held: pure decisions."""
