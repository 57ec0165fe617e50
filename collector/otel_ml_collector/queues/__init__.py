"""Labelling queues: runs that reviewers label, and how far reviewers and judges agree."""
