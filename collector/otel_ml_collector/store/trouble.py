"""What the engine raises, as the error that tells a sender to come again."""

from collections.abc import Iterator
from contextlib import contextmanager

from clickhouse_connect.driver.exceptions import ClickHouseError

from otel_ml_collector.errors import Unavailable


@contextmanager
def store_trouble() -> Iterator[None]:
    """Turn whatever goes wrong between us and the store into `Unavailable`.

    Raises:
        Unavailable: The store has trouble.
    """
    try:
        yield
    except ClickHouseError as error:
        raise Unavailable(f"The store has trouble: {name_of(error)}") from error
    except OSError as error:  # an insert passes through a temporary file
        raise Unavailable(f"The store has trouble: {error.strerror}") from error


def name_of(error: ClickHouseError) -> str:
    """Name an error as the engine does, without the data that its message may quote."""
    return getattr(error, "name", None) or type(error).__name__
