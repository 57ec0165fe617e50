"""Data sets: their items, their digests, and the records that saving them sends."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from otel_ml import Client, Dataset, current_run, testing
from otel_ml.experiments.dataset import Item, choose_items
from tests.support.otel_ml.recording import Recording, attributes, events

SUM: dict[str, Any] = {
    "inputs": {"question": "2+2"},
    "expected": "4",
    "tags": {"topic": "sums"},
}
# Computed with sha256sum from the canonical texts.
GOLDEN = [
    "48bbdbe588e6ce2d889ebba0ff8b32fc8d0da132f97bc0ee02427c6d6aebdad2",
    "82a75ca40bf9324bdb85b7e9f9430cf5744810ba9b291aa5f9f8346d221b20f6",
]
GOLDEN_VERSION = "87c965857fb880cf71cbe7dbb0e338126d4c188c873eb4290736ad1184f7fa10"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def plain(dataset: Dataset) -> list[tuple[str, Any, Any, Any]]:
    return [(one.id, one.inputs, one.expected, dict(one.tags)) for one in dataset]


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def test_digests_are_those_of_the_text() -> None:
    """Digest, id and version are SHA-256 of canonical JSON and equal on every machine."""
    qa = Dataset("qa", [SUM])
    [item] = qa
    assert item.digest == digest(
        '{"expected":"4","inputs":{"question":"2+2"},"tags":{"topic":"sums"}}'
    )
    assert item.id == digest('{"question":"2+2"}')[:16]
    assert qa.digest == digest(f"{item.id} {item.digest}\n")
    assert qa.tag == f"qa@{qa.digest[:16]}"


def test_golden_digests() -> None:
    """Digests are the same in every release."""
    qa = Dataset("qa", [SUM, {"inputs": [1, 2.5, None, True, "é"], "id": "list"}])
    assert [one.digest for one in qa] == GOLDEN
    assert qa.digest == GOLDEN_VERSION


def test_order_and_origin_do_not_count() -> None:
    """The order and the source runs of items do not change the version."""
    rows = [SUM, {**SUM, "expected": "four"}, {"inputs": {"question": "1+1"}, "id": "own"}]
    qa = Dataset("qa", rows)
    source = {"source_run": "a-b", "source_session": "morning"}
    turned = Dataset("qa", [{**row, **source} for row in reversed(rows)])
    assert qa == turned
    assert {one.id: one.digest for one in qa} == {one.id: one.digest for one in turned}


def test_one_source_a_content() -> None:
    """Items with the same content have the same source run and session in any order."""
    rows = [{"inputs": "hello", "source_run": f"r{n}", "source_session": f"s{n}"} for n in range(3)]
    rows.append({"inputs": "hello", "id": "own"})
    for given_rows in (rows, rows[::-1]):
        qa = Dataset("qa", given_rows)
        assert len({one.id for one in qa}) == 4
        assert {(one.source_run, one.source_session) for one in qa} == {("r2", "s2")}


@given(st.lists(json_values, max_size=5))
def test_content_comes_back(values: list[Any]) -> None:
    """An item with any JSON value keeps its id and digest when it is read from a file."""
    made = Dataset("any", [{"inputs": value} for value in values])
    lines = [json.loads(json.dumps({"inputs": one.inputs})) for one in made]
    assert Dataset("any", lines).digest == made.digest
    assert len({one.id for one in made}) == len(values)


def test_two_different_items_under_one_id_are_refused() -> None:
    """Two different items with one id raise an error that names both."""
    rows = [{"id": "a", "inputs": {"q": "one"}}, {"id": "a", "inputs": {"q": "two"}}]
    with pytest.raises(
        ValueError, match=r"^Two different items have the id 'a': .*one.* and .*two"
    ):
        Dataset("qa", rows)


def test_the_same_item_under_one_id_is_there_once() -> None:
    """An item that is given twice with its id is stored once."""
    assert len(Dataset("qa", [{"id": "a", **SUM}, {"id": "a", **SUM}])) == 1


def test_rows_of_any_form() -> None:
    """Unknown columns become inputs, and so does a row that is not a mapping."""
    rows = [
        {"question": "2+2", "unit": None, "expected": 4, "id": 7},
        {"inputs": {"question": "3"}, "unit": "m", "id": "named"},
        "text alone",
    ]
    found = plain(Dataset("qa", rows))
    assert found[:2] == [
        ("7", {"question": "2+2", "unit": None}, 4, {}),
        ("named", {"unit": "m", "question": "3"}, None, {}),
    ]
    assert found[2][1:] == ("text alone", None, {})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("rows", r"^Invalid data 'rows': expected a list of inputs"),
        ([{"inputs": 1, "more": 2}], r"^Invalid row 1 with inputs 1 and the columns \['more'\]"),
        (
            [{"inputs": 1, "id": "a\nb"}],
            r"^Invalid id 'a\\nb' of row 1: expected a text of 1 to 256",
        ),
        ([{"inputs": 1, "tags": ["a"]}], r"^Invalid tags \['a'\]: expected a mapping"),
        ([{"inputs": "\ud800"}], r"^Invalid item '': expected valid Unicode text"),
    ],
)
def test_bad_rows_are_refused(data: Any, message: str) -> None:
    """An invalid row raises an error when the data set is created."""
    with pytest.raises(ValueError, match=message):
        Dataset("qa", data)


def test_items_do_not_change_with_what_they_were_made_of() -> None:
    """Items copy lists and dicts, so later changes to the originals have no effect."""
    words = ["a"]
    qa = Dataset("qa", [{"inputs": {"words": words}}])
    words.append("b")
    assert qa.items[0].inputs == {"words": ["a"]}


WRITERS: dict[str, Callable[[Path], object]] = {
    "jsonl": lambda path: path.write_text(
        '{"question": "2+2", "expected": "4", "id": "a", "tags": {"t": 1}}\n\n'
        '{"inputs": {"question": "3"}, "id": "b"}\n'
    ),
    "csv": lambda path: path.write_text(
        '\ufeffquestion,expected,id,tags\n2+2,4,a,"{""t"": 1}"\n3,,b,\n', encoding="utf-8"
    ),
    "parquet": lambda path: parquet.write_table(
        pa.table(
            {
                "inputs": [{"question": "2+2"}, {"question": "3"}],
                "expected": ["4", None],
                "id": ["a", "b"],
                "tags": pa.array([{"t": 1}, None]),
            }
        ),
        path,
    ),
}


@pytest.mark.parametrize("suffix", [*WRITERS])
def test_files(tmp_path: Path, suffix: str) -> None:
    """A file of each format yields its items. Without a name, the data set has the file's name."""
    path = tmp_path / f"qa.{suffix}"
    WRITERS[suffix](path)
    found = Dataset.read(path)
    right = "" if suffix == "csv" else None
    assert (found.name, plain(found)) == (
        "qa",
        [("a", {"question": "2+2"}, "4", {"t": 1}), ("b", {"question": "3"}, right, {})],
    )
    assert Dataset.read(str(path), "other").name == "other"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qa.jsonl", '{"inputs": {"q": "hi"}, "expected": "yo"}\r\n'),
        ("qa.ndjson", '\n{"inputs": {"q": "hi"}, "expected": "yo"}'),
        ("qa.csv", "q,expected\r\nhi,yo\r\n"),
    ],
)
def test_byte_order_mark_is_ignored(tmp_path: Path, name: str, text: str) -> None:
    """A text file may begin with a byte order mark, as Excel and PowerShell write it."""
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    [item] = Dataset.read(tmp_path / name)
    assert (item.inputs, item.expected) == ({"q": "hi"}, "yo")


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
    ],
    ids=["pandas", "pyarrow"],
)
def test_columns_with_one_name_are_refused(frame: Any) -> None:
    """A table with a duplicate column name raises an error that names the column."""
    with pytest.raises(ValueError, match=r"^Columns of the table have the same name 'a'$"):
        Dataset.from_frame("qa", frame)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("qa.csv", "a,b,a\n1,2,3\n", r"^Columns of .*qa\.csv have the same name 'a'"),
        ("qa.txt", "", r"expected a \.jsonl, \.csv or \.parquet file"),
        ("qa.jsonl", '{"a": 1}\nno\n', r"^Line 2 of .*qa\.jsonl is not JSON"),
        ("qa.csv", "a\n1,2\n", r"^Row 1 of .*qa\.csv has more cells than the header"),
        ("qa.csv", "inputs\nno\n", r"^Row 1 of .*qa\.csv: inputs is not JSON"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    """A file that cannot be read as items raises an error that names the problem."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        Dataset.read(tmp_path / name)


FRAME = pd.DataFrame({"q": ["2+2", "3"], "a": ["4", float("nan")], "key": [1, 2], "t": ["x", "y"]})


@pytest.mark.parametrize(
    "make", [lambda: FRAME, lambda: pl.from_pandas(FRAME), lambda: pa.Table.from_pandas(FRAME)]
)
def test_tables(make: Callable[[], Any]) -> None:
    """Tables of pandas, polars and pyarrow produce the same items; a missing value is None."""
    found = Dataset.from_frame("qa", make(), inputs=["q"], expected="a", id="key", tags=["t"])
    assert plain(found) == [
        ("1", {"q": "2+2"}, "4", {"t": "x"}),
        ("2", {"q": "3"}, None, {"t": "y"}),
    ]


def test_table_without_the_column() -> None:
    """A column that the table does not have raises an error that names the column."""
    with pytest.raises(
        ValueError, match=r"^Invalid expected 'b': expected one of the columns \['q'"
    ):
        Dataset.from_frame("qa", FRAME, expected="b")


def test_runs_become_items() -> None:
    """Runs become items that keep their source.

    The expected value is the output of the run, or the result of a given function.
    """
    client = Client("runs")

    @client.trace(tags={"topic": "sums"})
    def add(a: int, b: int) -> int:
        if b is not None:
            current_run().identify(session="morning")
        return a + b

    with testing.record(client) as calls:
        add(1, 2)
        with pytest.raises(TypeError):
            add("a", None)  # type: ignore[arg-type]  # it is to fail
        runs = calls.runs
    answered = Dataset.from_runs("sums", runs, "outputs")
    assert plain(answered)[0][1:] == ({"a": 1, "b": 2}, 3, {"topic": "sums"})
    assert answered.items[0].source_run == runs[0].id
    assert answered.left_out == {"without a whole output": 1}
    assert [one.expected for one in Dataset.from_runs("sums", runs)] == [None, None]
    assert [one.source_session for one in Dataset.from_runs("sums", runs)] == ["morning", ""]
    assert [one.expected for one in Dataset.from_runs("sums", runs, lambda run: run.outcome)] == [
        "ok",
        "error",
    ]


def test_cut_inputs_are_no_item() -> None:
    """Runs with truncated or uncaptured inputs are left out and counted in `left_out`."""
    client = Client("runs")
    with testing.record(client) as calls:
        client.trace(len)("x" * 100_000)
        client.trace(capture="outputs")(len)("x")
        made = Dataset.from_runs("long", calls.runs)
    assert (len(made), sum(made.left_out.values())) == (0, 2)


def test_sum_of_data_sets() -> None:
    """A sum of data sets contains each item once and combines both names."""
    one = Dataset("a", [SUM, {"inputs": 1}], "first")
    two = Dataset("b", [SUM, {**SUM, "expected": "5"}, {"inputs": 2, "id": "two"}], "second")
    both = one + two
    assert (both.name, both.description, len(both)) == ("a+b", "first second", 4)
    assert both.digest == (two + one).digest
    assert one + one == Dataset("a+a", [SUM, {"inputs": 1}])


def test_sum_of_contradictions_is_refused() -> None:
    """Adding data sets with different items under one id raises an error."""
    with pytest.raises(ValueError, match=r"^Two different items have the id 'x'"):
        Dataset("a", [{"id": "x", "inputs": 1}]) + Dataset("b", [{"id": "x", "inputs": 2}])


def test_difference() -> None:
    """A difference lists the items that were added, removed and changed."""
    before = Dataset("qa", [{"id": "a", "inputs": 1}, {"id": "b", "inputs": 2}])
    after = Dataset("qa", [{"id": "b", "inputs": 3}, {"id": "c", "inputs": 4}])
    found = after.diff(before)
    assert (found.added, found.removed, found.changed) == (["c"], ["a"], ["b"])
    assert str(found) == "+1 −1 ~1"


def test_chosen_items_are_the_same_each_time() -> None:
    """A limit selects items by digest.

    The selection does not depend on the order, and a larger limit adds items to it.
    """
    qa = Dataset("qa", [{"inputs": number} for number in range(100)])
    turned = Dataset("qa", [{"inputs": number} for number in reversed(range(100))])
    few = {one.id for one in choose_items(qa, 10, 1.0)}
    assert few == {one.id for one in choose_items(turned, None, 0.1)}
    assert few < {one.id for one in choose_items(qa, 20, 1.0)}
    assert [one.inputs for one in choose_items(qa, 20, 1.0)] == sorted(
        one.inputs for one in choose_items(turned, 20, 1.0)
    )


def test_shown_in_a_line_and_as_a_table() -> None:
    """The repr shows name, size and digest; a notebook shows the first items, escaped."""
    qa = Dataset("qa", [{"inputs": {"q": "<b>"}, "id": str(number)} for number in range(21)])
    assert repr(qa) == f"<Dataset qa 21 items {qa.digest[:16]}>"
    html = qa._repr_html_()
    assert "&lt;b&gt;" in html
    assert "and 1 more" in html
    assert "<b>" not in html


def test_typed_values_are_known_by_content() -> None:
    """Arrays are compared by content and keep their type."""
    rows = [{"inputs": {"image": np.arange(4), "pair": (1, 2)}}]
    one, same = (
        Dataset("images", rows),
        Dataset("images", [{"inputs": {"image": np.arange(4), "pair": (1, 2)}}]),
    )
    other = Dataset("images", [{"inputs": {"image": np.arange(5), "pair": (1, 2)}}])
    assert one.digest == same.digest != other.digest
    assert isinstance(one.items[0].inputs["image"], np.ndarray)


def test_saved_without_a_server() -> None:
    """Saving sends the items and the version, and returns the name with the digest."""
    recording = Recording()
    source = {"source_run": "r", "source_session": "s"}
    qa = Dataset("qa", [SUM, {"inputs": {"image": np.arange(3)}, **source}], "sums")
    assert recording.client.save(qa) == qa.tag
    first, second = map(attributes, recording.records("item"))
    about = {
        key: first[key]
        for key in first
        if key.startswith(("otel_ml.in", "otel_ml.it", "otel_ml.tag"))
    }
    assert about == {
        "otel_ml.inputs": '{"question":"2+2"}',
        "otel_ml.item.expected": '"4"',
        "otel_ml.item.digest": qa.items[0].digest,
        "otel_ml.tag.topic": "sums",
    }
    assert second["otel_ml.item.source_run"] == "r"
    assert second["otel_ml.item.source_session"] == "s"
    [(_, said)] = events(recording.records("item")[1])
    reference = json.loads(second["otel_ml.inputs"])["image"]
    assert said["otel_ml.artifact.ref"] == "inputs.image"
    assert reference == {
        "otel_ml.artifact.type": "otel_ml.types.Numpy",
        "otel_ml.artifact.sha256": said["otel_ml.artifact.sha256"],
    }
    [update] = recording.records("update")
    told = attributes(update)
    assert [told[f"otel_ml.target.{part}"] for part in ("kind", "model", "version")] == [
        "dataset",
        "qa",
        qa.digest,
    ]
    assert json.loads(told["otel_ml.model.definition"]) == {
        "items": 2,
        "parts": 1,
        "description": "sums",
    }
    [(_, manifest)] = events(update)
    text = json.loads(manifest["otel_ml.artifact.json"])
    assert text == "".join(f"{one.id} {one.digest}\n" for one in sorted(qa, key=lambda one: one.id))
    assert digest(text) == qa.digest


def test_saved_twice_is_sent_once() -> None:
    """A data set that the process has just sent is not sent again."""
    recording = Recording()
    qa = Dataset("qa", [SUM])
    assert recording.client.save(qa) == recording.client.save(qa)
    assert len(recording.records("item")) == 1


def test_secrets_are_hidden_and_said_to_be() -> None:
    """Items are redacted like runs and recorded as redacted."""
    recording = Recording()
    recording.client.save(Dataset("qa", [{"inputs": {"password": "x", "q": 1}}]))
    said = attributes(recording.records("item")[0])
    assert json.loads(said["otel_ml.inputs"]) == {"password": "[redacted]", "q": 1}
    assert json.loads(said["otel_ml.capture"]) == {"inputs": ["redacted"]}


def test_a_run_says_that_it_used_a_data_set() -> None:
    """A run that uses a data set is linked to its version."""
    recording = Recording()
    qa = Dataset("qa", [SUM])
    with recording.client.run("training") as run:
        run.uses(qa)
    [said] = [said for span in recording.spans() for _, said in events(span)]
    assert {key.rpartition(".")[2]: value for key, value in said.items()} == {
        "role": "used",
        "kind": "dataset",
        "name": "qa",
        "version": qa.digest,
    }


def test_item_is_found_by_its_id() -> None:
    """An item can be looked up by its id; an unknown id raises KeyError."""
    qa = Dataset("qa", [Item("a", 1)])
    assert qa["a"].inputs == 1
    with pytest.raises(KeyError):
        qa["b"]
