"""Matrices with more columns than a table are sampled evenly."""

import numpy as np
import orjson
import pytest

from otel_ml.capture.values import encode


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8", "bool"])
def test_wide_matrices_have_a_sample(dtype: str) -> None:
    """At most 16 rows and 16 columns are sent, in four significant digits."""
    matrix = np.arange(100.0 * 200).reshape(100, 200).astype(dtype)
    described = orjson.loads(encode(matrix).text)
    assert described["shape"] == [100, 200]
    sample = np.array(described["sample"])
    assert sample.shape == (15, 16)
    assert sample == pytest.approx(matrix[::7, ::13].astype("float64"), rel=1e-3)
    assert len(encode(matrix).text) < 4_000


def test_narrow_matrices_are_tables() -> None:
    """The rows of a matrix with up to 50 columns are a table."""
    described = orjson.loads(encode(np.zeros((100, 50))).text)
    assert "sample" not in described
    assert len(described["cells"]) == 50
