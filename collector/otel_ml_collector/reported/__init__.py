"""Calls that services report in metrics only, by model and separate from runs."""
