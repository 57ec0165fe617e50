"""A figure with its spread: these machines are noisy, so a single number is misleading."""

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], unit: str = "", digits: int = 2) -> str:
    """Return median, minimum and maximum as text."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f}{unit} (from {low:,.{digits}f} to {high:,.{digits}f})"
