"""Judges and their versions."""
