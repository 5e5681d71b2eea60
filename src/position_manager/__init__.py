"""Guards option positions with stop and target rules, and never closes one twice."""
