"""The image: its first program, its child processes and its screen."""
