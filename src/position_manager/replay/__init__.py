"""Rules over a recorded market."""
