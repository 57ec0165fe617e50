"""Judges, which score the output of runs, and the threads that they run on."""
