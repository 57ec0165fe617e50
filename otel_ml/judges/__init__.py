"""Judges score the output of runs. Also has the threads on which they run."""
