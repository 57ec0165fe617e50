"""Calls that services report in metrics only: figures by model, apart from those of runs."""
