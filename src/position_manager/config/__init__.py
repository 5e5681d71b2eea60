"""The configuration: its sections, its faults, and which of several rules holds."""
