"""Home and the overview of a project: its problems, then its figures, models and users."""
