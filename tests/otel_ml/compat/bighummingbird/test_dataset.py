"""BigHummingbird's data sets: the name is reserved."""

import pytest

from otel_ml.compat.bighummingbird.dataset import Dataset


def test_data_set_is_said_to_be_missing() -> None:
    """Making a data set says in one line that they are not built yet."""
    with pytest.raises(
        NotImplementedError,
        match=r"^Dataset\('rows'\): evaluation over data sets is not built yet$",
    ):
        Dataset("rows", [1, 2], description="none")
