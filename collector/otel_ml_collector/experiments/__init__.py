"""Experiments: functions that were run over data sets, and whether they got better."""
