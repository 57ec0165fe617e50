"""Statistics behind verdicts, drift and alerts. They need only Python's standard library."""

from typing import Final

# Fewest and most numbers of an embedding. They are here because `projections` is loaded late.
FEWEST_NUMBERS: Final = 16
MOST_NUMBERS: Final = 8_192
