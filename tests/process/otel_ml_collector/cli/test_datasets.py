"""Tests of `otel-ml dataset`: add, list, show, compare, change and export data sets."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from otel_ml import Client, Dataset
from otel_ml.judges.ready import exact
from otel_ml.reader import Reader
from otel_ml_collector.cli import main
from tests.store.otel_ml_collector.test_datasets import make_item, make_versions
from tests.support.collector import CollectorProcess, running
from tests.support.load import PROTOBUF
from tests.support.otel_ml_collector.wire import encode
from tests.support.sampling import at_night, sampled


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    with running(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _meant(collector: CollectorProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_ML_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_ML_PROJECT", "sets")


def invert(a: int) -> float:
    return 1 / a


def write(path: Path, *numbers: int, right: int = 1) -> str:
    """Write a file of items that are named after their numbers."""
    rows = [{"id": f"n{n}", "inputs": {"a": n}, "expected": n + right} for n in numbers]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def test_file_to_file(
    collector: CollectorProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exported file has the items that were added and replaced, and none that were removed."""
    assert main(["dataset", "add", "qa", "--file", write(tmp_path / "a.jsonl", *range(30))]) == 0
    more = write(tmp_path / "b.jsonl", 29, 30, right=2)
    assert main(["dataset", "add", "qa", "--file", more]) == 0
    assert main(["dataset", "remove", "qa", "--item", "n0", "--item", "n1"]) == 0
    assert capsys.readouterr().out == (
        "qa:v1 has 30 items\nqa:v2 has 31 items\nqa:v3 has 29 items\n"
    )
    assert main(["dataset", "list", "qa", "--format", "csv", "--columns", "version,items"]) == 0
    assert capsys.readouterr().out == "version,items\n3,29\n2,31\n1,30\n"
    assert main(["dataset", "diff", "qa:v1", "qa:v3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["added"], told["removed"], told["changed"]) == (1, 2, 1)
    assert (
        main(["dataset", "diff", "qa:v1", "qa:v3", "--format", "csv", "--columns=change,id"]) == 0
    )
    assert capsys.readouterr().out == "change,id\nremoved,n0\nremoved,n1\nchanged,n29\nadded,n30\n"
    out = tmp_path / "qa.jsonl"
    assert main(["dataset", "export", "qa:v3", str(out)]) == 0
    with Reader("sets", endpoint=collector.endpoint) as reader:
        assert Dataset.read(out) == Dataset.load("qa", reader=reader)
    assert main(["dataset", "show", "qa:v3", "--limit", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["version"]["version"], told["items"][0]["expected"]) == (3, 11)
    assert main(["dataset", "coverage", "qa"]) == 1
    assert "No model to compare with: run an experiment" in capsys.readouterr().err


@at_night
def test_changes_beside_a_half_written_version(
    collector: CollectorProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file is added to the newest complete version, which is also shown and loaded."""
    items = {f"n{n}": make_item({"a": n}, n) for n in range(3)}
    half = make_versions("half", items)[0]
    half.events.clear()  # type: ignore[attr-defined]
    half.attributes = {**half.attributes, "otel_ml.project": "sets"}
    status, _, _ = collector.post("/v1/traces", encode([half]), PROTOBUF)
    assert status == 200
    assert main(["dataset", "add", "half", "--file", write(tmp_path / "a.jsonl", 7)]) == 0
    half = make_versions("half", {"n1": items["n1"]})[0]
    half.events.clear()  # type: ignore[attr-defined]
    half.attributes = {**half.attributes, "otel_ml.project": "sets"}
    assert collector.post("/v1/traces", encode([half]), PROTOBUF)[0] == 200
    with Reader("sets", endpoint=collector.endpoint) as reader:
        assert [item.id for item in Dataset.load("half", reader=reader)] == ["n7"]
    assert main(["dataset", "add", "half", "--file", write(tmp_path / "b.jsonl", 8)]) == 0
    assert main(["dataset", "remove", "half", "--item", "n7"]) == 0
    assert capsys.readouterr().out == (
        "half:v2 has 1 item\nhalf:v4 has 2 items\nhalf:v5 has 1 item\n"
    )
    assert main(["dataset", "show", "half", "--format", "csv", "--columns", "id"]) == 0
    assert capsys.readouterr().out == "id\nn8\n"
    versions = ["dataset", "list", "half", "--format", "csv"]
    assert main([*versions, "--columns", "version,is_complete,added"]) == 0
    assert capsys.readouterr().out == (
        "version,is_complete,added\n5,True,0\n4,True,1\n3,False,\n2,True,1\n1,False,\n"
    )


def test_reasons(
    collector: CollectorProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason for each version is in the list, and stays if the same items are saved again."""
    client = Client("sets", endpoint=collector.endpoint, join=False)
    first = Dataset("why", [{"id": f"n{n}", "inputs": {"a": n}, "expected": n} for n in range(3)])
    client.evaluate(lambda a: a, first, [exact])  # sends the data set without a reason
    assert client.save(first, reason="from the tutorial") == "why:v1"
    client.close()
    added = write(tmp_path / "more.jsonl", 3)
    assert main(["dataset", "add", "why", "--file", added, "--reason", "n3 was wrong in May"]) == 0
    assert main(["dataset", "remove", "why", "--item", "n0", "--reason", "nobody asks, 0"]) == 0
    assert main(["dataset", "add", "why", "--where", 'kind == "experiment"', "--reason", "n"]) == 2
    again = Client("sets", endpoint=collector.endpoint, join=False)
    assert again.save(first) == "why:v1"
    with pytest.raises(ValueError, match="Invalid reason"):
        again.save(first, reason="n" * 1_001)
    again.close()
    capsys.readouterr()
    assert main(["dataset", "list", "why", "--format", "csv", "--columns", "version,reason"]) == 0
    assert capsys.readouterr().out == (
        'version,reason\n3,"nobody asks, 0"\n2,n3 was wrong in May\n1,from the tutorial\n'
    )
    assert main(["dataset", "remove", "why", "--item", "n1", "--reason", "n" * 1_001]) == 2
    assert "at most 1,000 characters" in capsys.readouterr().err


def test_runs_become_items(collector: CollectorProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """Matching runs become items with their outputs; runs without a complete output are counted."""
    client = Client("sets", endpoint=collector.endpoint, join=False)
    traced = client.trace(invert)
    for number in (1, 2, 4):
        traced(number)
    with pytest.raises(ZeroDivisionError):
        traced(0)
    assert client.flush()
    client.close()
    words = ["dataset", "add", "inverted", "--where", 'model == "invert"', "--expected", "outputs"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out == "inverted:v1 has 3 items\n"
    assert said.err == "skipped: 1 without a whole output\n"
    assert main(["dataset", "show", "inverted", "--format", "csv", "--columns", "expected"]) == 0
    assert sorted(capsys.readouterr().out.split()) == ["0.25", "0.5", "1.0", "expected"]


def test_typed_values_are_in_no_line(
    collector: CollectorProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An array is shown as an array; a file that cannot contain it is not written."""
    client = Client("sets", endpoint=collector.endpoint, join=False)
    client.save(Dataset("arrays", [{"id": "one", "inputs": {"a": np.arange(3)}}]))
    client.close()
    assert main(["dataset", "show", "arrays"]) == 0
    assert "array([0, 1, 2])" in capsys.readouterr().out
    assert main(["dataset", "export", "arrays", str(tmp_path / "a.jsonl")]) == 1
    assert "Item 'one' has values that JSON cannot contain" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@sampled(2)
@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (("show", "none"), 5, "no data set 'none'"),
        (("show", "known:v9"), 5, "'known' has no version 9"),
        (("diff", "known:v1", "other:v1"), 5, "no data set 'other'"),
        (("add", "known"), 2, "either --file FILE or --where EXPR"),
        (("add", "known", "--file", "a.jsonl", "--where", "a"), 2, "either --file FILE"),
        (("add", "known", "--file", "none.jsonl"), 2, "none.jsonl"),
        (("add", "known", "--file", "a.txt"), 2, "a .jsonl, .csv or .parquet file"),
        (("add", "known", "--where", "colour == 1"), 2, "colour"),
        (("add", "known", "--where", 'model == "none"'), 2, "none matches"),
        (("remove", "known", "--item", "n7"), 2, "no item 'n7'"),
        (("remove", "none", "--item", "n7"), 5, "no data set 'none'"),
        (("list", "none"), 5, "no data set 'none'"),
        (("list", "--project", "elsewhere"), 5, "no project 'elsewhere'"),
    ],
)
def test_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    status: int,
    why: str,
) -> None:
    """An error is one line, and nothing is changed."""
    assert main(["dataset", "add", "known", "--file", write(tmp_path / "k.jsonl", 1)]) == 0
    capsys.readouterr()
    assert main(["dataset", *words]) == status
    said = capsys.readouterr().err
    assert said.startswith("otel-ml: ")
    assert why in said
    assert main(["dataset", "list", "known", "--format", "csv", "--columns", "version"]) == 0
    assert capsys.readouterr().out == "version\n1\n"
