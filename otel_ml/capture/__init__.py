"""Captures inputs and outputs of a run as JSON text of limited size.

During a call, `taker` copies a small sample of each value that is not plain JSON, a snapshot. Later
the thread that sends the run describes the snapshots, and `values` writes them as JSON.
"""
