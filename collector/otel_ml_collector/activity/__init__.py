"""Who changed what in a project."""
