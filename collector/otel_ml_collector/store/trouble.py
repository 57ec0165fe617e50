"""What the engine raises, as the error that tells a sender to come again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from otel_ml_collector.errors import Unavailable

_MOST: Final = 200


@contextmanager
def store_trouble() -> Iterator[None]:
    """Turn whatever goes wrong between us and the store into `Unavailable`.

    Raises:
        Unavailable: The store has trouble.
    """
    try:
        yield
    except (ClickHouseError, OSError) as error:  # an insert passes through a temporary file
        raise Unavailable(f"The store has trouble: {name_of(error)}") from error


def name_of(error: ClickHouseError | OSError) -> str:
    """Name an error as the engine or the system does, without the data that it may quote."""
    if isinstance(error, OSError):
        # Not every library gives its errors a number; the type alone still says what it was.
        return error.strerror or str(error).partition("\n")[0][:_MOST] or type(error).__name__
    return getattr(error, "name", None) or type(error).__name__
