"""The demo's second judge gets the same comparison before and after its scores are stored."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from examples.demo.edit import copy_service
from otel_ml.reader import NotFound, Reader
from tests.support.collector import CollectorProcess

PROJECT: Final = "docs-search"
TURNS: Final = 54  # three questions in each of 18 conversations
TALK: Final = ("-c", "from service import agent; agent.converse()")
JUDGE: Final = (
    *("-m", "otel_ml_collector", "judge", "service.agent:stricter"),
    *("--project", PROJECT, "--where", 'model == "assistant"'),
)


def call(folder: Path, collector: CollectorProcess, *arguments: str) -> tuple[str, str]:
    """Run Python in the folder of the demo's service, and return its output and errors."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "OTEL_ML_ENDPOINT": collector.endpoint},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout, done.stderr


def read_sentence(output: str) -> str:
    """Return the sentence in the command's output that compares both versions of the judge."""
    [line] = [line for line in output.splitlines() if line.startswith("  it is ")]
    return line.removeprefix("  it ")


def list_stored(collector: CollectorProcess) -> list[tuple[int | None, int]]:
    """List the stored versions of the judge, with the number of runs that each has scored."""
    with Reader(PROJECT, endpoint=collector.endpoint) as reader:
        versions = reader.judge_versions("concise")
    return [(version["version"], version["evaluations"]) for version in versions]


def test_before_and_after(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """The command and, once scores are stored, the page report the same change of the judge."""
    copy_service(tmp_path)
    call(tmp_path, own_collector, *TALK)
    page = f"/projects/{PROJECT}/judges/concise"
    untouched = own_collector.get_text(page)
    assert 'id="strictness"' not in untouched
    assert list_stored(own_collector) == [(1, TURNS)]
    out, err = call(tmp_path, own_collector, *JUDGE)
    sentence = read_sentence(out)
    assert f"judged {TURNS} runs" in out
    assert "is stricter: " in sentence
    assert f"{TURNS + 1} will be scored" in err  # one run failed because the search was down
    assert "1 left out: ended with error" in out
    assert "Nothing was stored: use --write to store the scores" in err
    assert list_stored(own_collector) == [(1, TURNS)]
    assert 'id="strictness"' not in own_collector.get_text(page)
    with (
        Reader(PROJECT, endpoint=own_collector.endpoint) as reader,
        pytest.raises(NotFound, match="has no version 2"),
    ):
        reader.judge_strictness("concise", 2, against=1)
    out, err = call(tmp_path, own_collector, *JUDGE, "--write")
    assert read_sentence(out) == sentence
    assert f"{TURNS} scores stored" in err
    assert list_stored(own_collector) == [(2, TURNS), (1, TURNS)]
    assert f"v2 {sentence.partition(' (')[0]}" in own_collector.get_text(page)
    # Stored scores are not requested again, and the comparison is the same.
    out, err = call(tmp_path, own_collector, *JUDGE)
    assert f"judged {TURNS} runs, {TURNS} of them earlier" in out
    assert read_sentence(out) == sentence
