"""The filter language: its grammar, its fields, its SQL, and its completions."""
