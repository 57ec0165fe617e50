"""Runs as files: all of a project, or a whole trace with its documents."""
