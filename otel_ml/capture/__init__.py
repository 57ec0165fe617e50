"""Records values of a run: chooses them, writes them as text, hides secrets in them."""
