"""Numbers in a page of ``/metrics``."""


def numbers_in(page: str, name: str) -> dict[str, float]:
    """Read the numbers of a metric that are not 0, by their labels as they stand there."""
    told = [line.rpartition(" ") for line in page.splitlines() if line.startswith(f"{name}{{")]
    return {
        line.partition("{")[2].rstrip("}"): float(value) for line, _, value in told if float(value)
    }
