"""A project at a glance: what is wrong first, then its figures, models and users."""
