"""Calls of generative models, in the words of the GenAI conventions."""
