"""Traces: the spans of one, and the page of a run among them."""
