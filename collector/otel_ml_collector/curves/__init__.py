"""Curves of logged metrics: one drawn alone, and several on one axis."""
