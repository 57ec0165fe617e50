"""Data sets and experiments: what runs a function over items, and what it says in the end."""
