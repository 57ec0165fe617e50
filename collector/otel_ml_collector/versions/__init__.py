"""Model versions: their definitions, what changed between two, and how consistently they answer."""
