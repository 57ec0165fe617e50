"""Settings: what they are, where they come from, and how each is read."""
