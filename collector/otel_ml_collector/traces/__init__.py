"""Traces: the spans of a trace, and the page of a run among them."""
