"""Queues: runs that people judge, what is left of them, and how far people and judges agree."""
