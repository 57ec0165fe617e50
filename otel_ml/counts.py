"""Writes a count with its noun, such as ``1 run`` and ``2,000 runs``."""


def write_count(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun in the right number.

    Args:
        count: The count.
        noun: What follows a count of 1, such as ``run`` or ``run was``.
        plural: What follows any other count. Default: `noun` with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
