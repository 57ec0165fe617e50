"""Settings: their table, their sources, and their readers."""
