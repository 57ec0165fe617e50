"""What the three origins promise, as their texts say it and against their faults."""
