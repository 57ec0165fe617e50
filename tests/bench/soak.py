"""The long ones: ten minutes without a collector, ten million calls; ``make soak``."""

from typing import Final

from tests.bench import memory, outage

OUTAGE_S: Final = 600
CALLS: Final = 10_000_000


def main() -> None:
    """Measure and print, one after the other."""
    outage.report(OUTAGE_S)
    memory.report(CALLS)


if __name__ == "__main__":
    main()
