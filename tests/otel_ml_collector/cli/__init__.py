"""Tests of the commands that ask a collector, run as their users run them."""
