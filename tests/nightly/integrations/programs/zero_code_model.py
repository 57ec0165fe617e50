"""A model without telemetry code."""


def predict(number: int, scale: int = 1) -> int:
    """Answer."""
    return number * (scale > 0)


def untouched() -> int:
    """Answer, and be named by nobody."""
    return 1


class Ranker:
    """Sorts."""

    def rank(self, items: list[int]) -> list[int]:
        """Sort."""
        return sorted(items)

    @staticmethod
    def of(number: int) -> int:
        """Double."""
        return 2 * number
