"""What is decided about orders: one intent for each holding, its price, its limits, the proof of its end. Pure."""
