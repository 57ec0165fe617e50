"""Tests of output to a terminal: tables fit its width, and data sends it no control characters."""

import io
import json
import re
from typing import Final

import pyarrow.parquet as pq
import pytest
from rich.cells import cell_len

from otel_ml import Client
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.cli.program import on_terminal, otel_ml
from tests.support.sampling import at_night, sampled

PROJECT: Final = "hostile"
LONG: Final = "x" * 1_000_000
EVIL: Final = "\x1b[2J\x1b]0;own\x07 \x9b31m \u202etxt.exe\u2066 \r\n[bold]日本 العربية 👩‍💻"
# The style sequences of rich: bold, colours, reset.
_STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def endpoint(collector: CollectorProcess) -> str:
    """A collector with hostile text in every field of its runs."""
    client = Client(PROJECT, endpoint=collector.endpoint)

    @client.trace(name=EVIL[:100], tags={"evil": EVIL})
    def answer(text: str) -> str:
        if text == EVIL:
            raise ValueError(EVIL)
        return text

    answer(LONG)
    with pytest.raises(ValueError, match="own"):
        answer(EVIL)
    assert client.flush()
    client.close()
    return collector.endpoint


def risky(text: str) -> list[str]:
    """Return the characters that a terminal would interpret, except line feeds."""
    return re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


@sampled(2)
@pytest.mark.parametrize("columns", ["", "model,tags,error_message,inputs,outputs"])
@pytest.mark.parametrize("kind", ["table", "json", "csv"])
def test_data_does_nothing_to_a_terminal(endpoint: str, kind: str, columns: str) -> None:
    """No control character from a run reaches a terminal."""
    named = columns.replace("inputs,outputs", "inputs_preview") if kind == "csv" else columns
    asked = ("runs", "--project", PROJECT, "--format", kind, "--columns", named)
    status, sent = on_terminal(endpoint, *asked, COLUMNS="240")
    assert (status, risky(_STYLE.sub("", sent))) == (0, [])
    assert "own" in sent


def test_json_still_says_the_same(endpoint: str) -> None:
    """Values that are escaped in JSON are read back unchanged."""
    done = otel_ml(endpoint, "runs", "--project", PROJECT, "--format", "json")
    [raised, _] = json.loads(done.stdout)["runs"]
    assert raised["tags"] == {"evil": EVIL}
    assert risky(done.stdout.decode()) == []


@at_night
def test_export_on_a_terminal(endpoint: str) -> None:
    """An export to a terminal sends it no control characters; Parquet to a terminal is refused."""
    for kind in ("csv", "jsonl"):
        asked = ("export", "--project", PROJECT, "--columns", "model,tags", "--format", kind)
        status, sent = on_terminal(endpoint, *asked)
        assert (status, risky(sent), "own" in sent) == (0, [], True)
    for command in ("export", "runs"):
        wanted = ("--project", PROJECT, "--format", "parquet")
        assert on_terminal(endpoint, command, *wanted) == (
            2,
            "otel-ml: Parquet is binary and cannot be shown in a terminal: write it to a "
            "file with > FILE\n",
        )


@at_night
def test_long_texts_are_whole_in_files(endpoint: str) -> None:
    """An exported file contains the complete text of values that a table shortens."""
    asked = ("export", "--project", PROJECT, "--columns", "tags,outputs", "--format", "parquet")
    table = pq.read_table(io.BytesIO(otel_ml(endpoint, *asked).stdout))
    assert dict(table["tags"].to_pylist()[0]) == {"evil": EVIL}
    assert table["outputs"].to_pylist()[1] is None


@sampled(1)
@pytest.mark.parametrize("width", [40, 60, 80, 120, 400])
def test_table_has_the_width_of_the_terminal(endpoint: str, width: int) -> None:
    """A table fits the width of the terminal and keeps the inputs, the outputs and the run id."""
    asked = ("runs", "--project", PROJECT)
    status, sent = on_terminal(endpoint, *asked, COLUMNS=str(width), NO_COLOR="1")
    lines = _STYLE.sub("", sent).splitlines()
    if lines[-1].startswith("otel-ml: "):
        said = lines.pop()
        assert said.startswith("otel-ml: hidden because the terminal is too narrow: start_time")
        assert not {"inputs,", "outputs,", "run_id:"} & set(said.split())
        assert said.endswith(" (use --columns)")
    assert (status, max(map(cell_len, lines)) <= width, len(lines)) == (0, True, 3)
    head = lines[0].split()
    assert head[-3:] == ["inputs", "outputs", "run_id"]
    assert not {"scores", "cost", "tokens"} & set(head)  # these columns are empty
    assert ("start_time" in head) is (width > 80)


@at_night
def test_table_at_80_columns(collector: CollectorProcess) -> None:
    """At 80 columns a table shows model, outcome, latency, inputs, outputs and a short run id."""
    client = Client("usual", endpoint=collector.endpoint)

    @client.trace(name="classify", tags={"client": "acme"})
    def classify(text: str) -> str:
        return text.upper()

    for number in range(3):
        classify(f"is this number {number} spam?")
    assert client.flush()
    client.close()
    asked = ("runs", "--project", "usual")
    status, sent = on_terminal(collector.endpoint, *asked, COLUMNS="80", NO_COLOR="1")
    head, *lines = _STYLE.sub("", sent).splitlines()
    assert (status, len(lines)) == (0, 4)
    assert head.split() == ["model", "outcome", "latency_ms", "inputs", "outputs", "run_id"]
    assert lines.pop() == (
        "otel-ml: hidden because the terminal is too narrow: start_time, version, tags "
        "(use --columns)"
    )
    [newest, *_] = collector.runs("usual")
    assert lines[0].split()[:2] == ["classify", "ok"]
    assert "is this" in lines[0]
    assert "IS THIS" in lines[0]
    short = lines[0].split()[-1]
    assert newest["run_id"].endswith(f"-{short}")
    for run in (short, newest["run_id"]):
        for project in ((), ("--project", "usual")):
            opened = otel_ml(collector.endpoint, "open", run, *project)
            page = f"{collector.endpoint}/projects/usual/runs/{newest['run_id']}"
            assert (opened.returncode, opened.stdout.decode()) == (0, f"{page}\n")
            assert collector.status(page.removeprefix(collector.endpoint)) == 200


@at_night
def test_times_are_as_on_the_pages(endpoint: str) -> None:
    """On a terminal a time is relative, in a pipe it is exact."""
    asked = ("runs", "--project", PROJECT, "--columns", "start_time", "--limit", "1")
    _, sent = on_terminal(endpoint, *asked, NO_COLOR="1")
    assert re.fullmatch(r"start_time\s+\d+ (s|min) ago\s+", _STYLE.sub("", sent))
    [_, exact] = otel_ml(endpoint, *asked).stdout.decode().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", exact)


@at_night
def test_no_colour_anywhere(endpoint: str) -> None:
    """Neither a pipe nor a terminal without colours gets an escape sequence."""
    asked = ("runs", "--project", PROJECT)
    assert b"\x1b" not in otel_ml(endpoint, *asked).stdout
    assert "\x1b" not in on_terminal(endpoint, *asked, TERM="dumb")[1]
