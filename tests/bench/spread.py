"""A figure with its spread: these machines are noisy, one number says little."""

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], unit: str = "", digits: int = 2) -> str:
    """Write median, minimum and maximum."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f}{unit} (from {low:,.{digits}f} to {high:,.{digits}f})"
