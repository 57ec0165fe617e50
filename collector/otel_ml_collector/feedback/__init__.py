"""Feedback and late truth, told through the API."""
