"""Tables of the command line show inputs and outputs as the pages do."""

import json

import pytest

from otel_ml_collector.cli.output import Layout, write_rows

RUN = {
    "inputs": '{"age": 42, "plan": "basic", "is_new": false}',
    "outputs": '{"type": "numpy.ndarray", "dtype": "float64", "shape": [100], "head": [0.31002551…',
}


def test_tables_show_previews(capsys: pytest.CaptureFixture[str]) -> None:
    """A table has no JSON; CSV and JSON have the preview that the API returns."""
    write_rows([RUN], RUN, Layout("table", ()))
    assert capsys.readouterr().out.splitlines()[1].split("  ") == [
        "age 42 · basic · not is_new",
        "array 100 float64",
    ]
    write_rows([RUN], RUN, Layout("json", ()))
    assert json.loads(capsys.readouterr().out) == RUN
    write_rows([RUN], RUN, Layout("csv", ()))
    assert "age 42" not in capsys.readouterr().out
