"""Pages and JSON of runs: lists, one run in its trace, sessions, saved views, and live runs."""
