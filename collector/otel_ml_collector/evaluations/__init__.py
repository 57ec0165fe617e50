"""Evaluations: experiments, data sets, and which of two versions is better."""
