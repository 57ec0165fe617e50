"""Numbers in a ``/metrics`` page."""


def numbers_in(page: str, name: str) -> dict[str, float]:
    """Return the nonzero numbers of a metric by their labels, as written in the page."""
    told = [line.rpartition(" ") for line in page.splitlines() if line.startswith(f"{name}{{")]
    return {
        line.partition("{")[2].rstrip("}"): float(value) for line, _, value in told if float(value)
    }
