"""Questions with known answers: at most three calls and 9,000 characters lead to each."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
import pytest

from tests.support.otel_ml_collector.assistants.fixtures import TRACE, Ask
from tests.support.sampling import sampled

CALLS: Final = 3
CHARS: Final = 9_000
DAY: Final = {"since": "2026-11-20T00:00:00Z", "where": 'model == "answer"'}

ACME: Final = 'model == "answer" and tags["client"] == "acme"'

Answered = Mapping[str, Any]
# A tool and its arguments, which are fixed or made from the previous response.
Step = tuple[str, Mapping[str, Any] | Callable[[Answered], Mapping[str, Any]]]


def cell(answered: Answered, column: str, row: int = 0) -> Any:
    return answered["rows"][row][answered["columns"].index(column)]


def example(answered: Answered) -> Mapping[str, Any]:
    """Return the reference of the last error group's example."""
    return {"ref": cell(answered, "example", -1)}


def first_run(answered: Answered) -> Mapping[str, Any]:
    return {"ref": cell(answered, "run")}


def newest_pair(answered: Answered) -> Mapping[str, Any]:
    return {"a": cell(answered, "experiment", 1), "b": cell(answered, "experiment", 0)}


OVERVIEW: Final[Step] = ("overview", DAY)
ERRORS: Final[Step] = ("errors", DAY)


def count(where: str, **more: str) -> Step:
    return "statistics", {"since": DAY["since"], "where": where, **more}


# The question, its shortest path, and a part of the last response.
QUESTIONS: Final[Mapping[str, tuple[list[Step], str]]] = {
    "which projects are there?": ([("overview", {"project": None})], '["shop",'),
    "how many runs failed?": ([OVERVIEW], '"errors":15'),
    "how many runs has v2?": ([OVERVIEW], '["answer:v2",100,'),
    "what fails most?": ([OVERVIEW], "order # not found in '…'"),
    "what fails since v2 alone?": ([ERRORS], '["KeyError","no field #",5,'),
    "which versions have lost orders?": ([ERRORS], '["answer:v1","answer:v2"]'),
    "show one missing field": ([OVERVIEW, ERRORS, ("read", example)], "no field 0000009a"),
    "where did it raise?": (
        [
            ("find_runs", {**DAY, "where": 'input.question == "why 150"'}),
            ("read", lambda found: {**first_run(found), "part": "error.traceback"}),
        ],
        "line 7, in answer",
    ),
    "what is the slowest run?": (
        [("find_runs", {**DAY, "order": "slowest", "limit": 1})],
        '"why 77"',
    ),
    "what did the costliest say?": (
        [("find_runs", {**DAY, "order": "costliest", "limit": 1}), ("read", first_run)],
        "because 195",
    ),
    "how many runs are there of acme?": ([count('tags["client"] == "acme"')], "[[50,"),
    "which client has more runs?": (
        [count('model == "answer"', group='tags["client"]')],
        '["bigshot",150,',
    ),
    "how many sessions?": (
        [count('model == "answer"', group="session")],
        '"left_out":30',
    ),
    "is v2 better than v1?": ([("compare", {"a": "answer:v1", "b": "answer:v2"})], '"worse"'),
    "how sure is that?": (
        [("compare", {"a": "answer:v1", "b": "answer:v2"})],
        "62 pts worse",
    ),
    "what changed in the code?": (
        [("compare", {"a": "answer:v1", "b": "answer:v2"})],
        "temperature=0.9",
    ),
    "which parameter changed?": (
        [("compare", {"a": "answer:v1", "b": "answer:v2"})],
        "depth: 6 → 9",
    ),
    "which items got worse?": (
        [("find_experiments", {}), ("compare", newest_pair)],
        '"q-000"',
    ),
    "how many got worse?": (
        [("find_experiments", {}), ("compare", newest_pair)],
        '"left_out":20',
    ),
    "which data sets are there?": ([("find_experiments", {})], '["qa",1,40,'),
    "what is in the data set?": ([("read", {"ref": "qa:v1"})], "question=0"),
    "what is the source of v1?": ([("read", {"ref": "answer:v1"})], "temperature=0.2"),
    "what does the judge judge by?": ([("read", {"ref": "grounded"})], "def passes(score)"),
    "how often does v1 pass?": ([OVERVIEW], "grounded:v1 mean 0.9 passed 0.9 n=100"),
    "what failed in the trace?": ([("read", {"ref": TRACE.hex()})], '"rank","error"'),
    "which run of the trace was slow?": ([("read", {"ref": TRACE.hex()})], '"write","ok",790'),
    "which clients are there?": (
        [("complete_filter", {"text": 'tags["client"] == '})],
        '"bigshot"',
    ),
    "what is worst by the judge?": (
        [("find_runs", {**DAY, "order": "lowest:grounded", "limit": 1})],
        "grounded 0 fail",
    ),
    "which hour had most runs?": (
        [count('model == "answer"', bucket="1h")],
        '["2026-11-20T05:00:00Z",60,',
    ),
    "how many runs of acme failed?": ([count('tags["client"] == "acme"')], "[[50,11,"),
    "whose runs fail less?": (
        [count('model == "answer"', group='tags["client"]')],
        '["bigshot",150,4,',
    ),
    "which type of error is most common?": (
        [count('outcome == "error" and model == "answer"', group="error_type")],
        '[["ValueError",10,10,',
    ),
    "how long is session s3?": ([count('session == "s3"')], "[[5,"),
    "what was asked in it?": (
        [("find_runs", {**DAY, "where": 'session == "s3"', "columns": ["input"]})],
        '"why 15"',
    ),
    "which run lost its field first?": (
        [("find_runs", {**DAY, "where": 'error_type == "KeyError"', "order": "oldest"})],
        '"why 150"',
    ),
    "what took more than 8 s?": (
        [("find_runs", {**DAY, "where": "latency_ms > 8000"})],
        '"why 77"',
    ),
    "how many were not grounded?": ([count('scores["grounded"] < 0.5')], "[[60,"),
    "is the newest experiment through?": ([("find_experiments", {"limit": 1})], '"40/40"'),
    "is v2 better for acme alone?": (
        [("compare", {"a": f"{ACME} and version == 1", "b": f"{ACME} and version == 2"})],
        "grounded: 0 of 25 runs passed; before: 25 of 25",
    ),
    "what about the last hour?": ([("overview", {"since": "1h"})], '"runs":'),
}


def follow(path: list[Step], ask_tool: Ask) -> tuple[Answered, int]:
    """Follow a path; return the last response, and the characters of all responses."""
    found: dict[str, Any] = {}
    size = 0
    for tool, given in path:
        found = ask_tool(tool, **(given(found) if callable(given) else given))
        size += len(orjson.dumps(found).decode())
    return found, size


@sampled(3)
@pytest.mark.parametrize("question", QUESTIONS)
def test_question(question: str, ask_tool: Ask) -> None:
    """The shortest path leads to the answer, within the limits of calls and characters."""
    path, expected = QUESTIONS[question]
    found, size = follow(path, ask_tool)
    sys.stdout.write(f"{question:<38} {len(path)} calls {size:>6,} characters\n")
    assert expected in orjson.dumps(found).decode()
    assert (len(path) <= CALLS, size <= CHARS) == (True, True)


def test_forty() -> None:
    """QUESTIONS has forty questions."""
    assert len(QUESTIONS) == 40
