"""Quality: how good predictions were, once their ground truth is known."""
