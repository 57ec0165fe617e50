"""Queues: runs that people judge, those that are left, and how far people and judges agree."""
