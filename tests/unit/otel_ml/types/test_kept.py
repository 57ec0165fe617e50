"""A table of values: what is kept of each, and what is read back.

``pytest tests/unit/otel_ml/types/test_kept.py -k table -s`` prints it.
"""

import sys

import pytest

from tests.support.otel_ml.types.kept import rows_of, try_sample, write_table
from tests.support.otel_ml.types.samples import SAMPLES


@pytest.mark.parametrize("name", SAMPLES)
def test_value_comes_back(name: str) -> None:
    """A value comes back as itself, as plain data, or as a text that says that it is one."""
    row = try_sample(SAMPLES[name])
    assert row.is_true, row


def test_table() -> None:
    """At least 180 values are tried."""
    rows = rows_of(SAMPLES)
    sys.stdout.write(f"\n{write_table(rows)}\n{len(rows)} values\n")
    assert len(rows) >= 180
