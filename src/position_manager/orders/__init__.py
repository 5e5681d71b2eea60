"""From the decision to close to the position that is gone: one intent for each holding, and proof of its end."""
