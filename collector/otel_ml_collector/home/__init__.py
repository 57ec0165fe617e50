"""The home page: what all projects do."""
