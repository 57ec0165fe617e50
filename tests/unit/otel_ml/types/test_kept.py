"""Table of sample values: what is stored of each value, and what is read back.

``pytest tests/unit/otel_ml/types/test_kept.py -k table -s`` prints the table.
"""

import sys

from tests.support.otel_ml.types.kept import rows_of, write_table
from tests.support.otel_ml.types.samples import SAMPLES


def test_table() -> None:
    """At least 180 values read back: equal, as plain data, or as text marked as such."""
    rows = rows_of(SAMPLES)
    sys.stdout.write(f"\n{write_table(rows)}\n{len(rows)} values\n")
    assert len(rows) >= 180
    assert [row for row in rows if not row.is_true] == []
