"""Tests of the rows that `fold` computes."""
