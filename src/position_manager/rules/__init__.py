"""Rules applied to what is held: pure decisions, and the guard that stores their input."""
