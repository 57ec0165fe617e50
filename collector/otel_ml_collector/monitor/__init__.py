"""Monitoring: the slices that do worst, what drifted, which version is worse, as findings."""
