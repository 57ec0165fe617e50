"""Problems of a project: one for each cause, from all that says something is wrong."""
