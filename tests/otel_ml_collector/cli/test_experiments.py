"""`otel-ml experiments`, `compare` and `baseline` over a collector that has experiments."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ml import Client, Dataset
from otel_ml.experiments.result import Result
from otel_ml.judges.ready import exact
from otel_ml_collector.cli import main
from tests.support.collector import CollectorProcess, running

QA = Dataset("qa", [{"inputs": {"a": a}, "expected": a + 1} for a in range(40)])


def right(a: int) -> int:
    return a + 1


def wrong(a: int) -> int:
    return a + 1 if a % 3 else -1


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    with running(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture(scope="module")
def results(collector: CollectorProcess) -> list[Result]:
    """Two experiments, of which the second one is worse."""
    client = Client("tried", endpoint=collector.endpoint, join=False)
    found = [client.evaluate(one, QA, [exact], name=one.__name__) for one in (right, wrong)]
    assert client.flush()
    client.close()
    return found


@pytest.fixture(autouse=True)
def _meant(collector: CollectorProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_ML_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_ML_PROJECT", "tried")


def test_list(results: list[Result], capsys: pytest.CaptureFixture[str]) -> None:
    """Experiments are listed, the newest first; a filter chooses."""
    assert main(["experiments", "--format", "csv", "--columns", "name,run_id,done"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "name,run_id,done",
        *(f"{one.experiment.name},{one.experiment.id},40" for one in reversed(results)),
    ]
    assert main(["experiments", "--limit", "1", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["experiments"]
    assert found["name"] == "wrong"
    assert main(["experiments", "--where", 'dataset == "none"']) == 1


@pytest.mark.parametrize(
    ("places", "more", "status"),
    [
        ((0, 1), (), 1),
        ((1, 0), (), 0),
        ((0, 0), (), 0),
        ((0, 1), ("--fail-if", "errors > 0"), 0),
        ((0, 1), ("--fail-if", 'difference["exact"] < 0'), 1),
        ((0, 1), ("--fail-if", "colour"), 2),
        ((0, 1, 0), (), 1),
    ],
)
def test_compare(
    results: list[Result], places: tuple[int, ...], more: tuple[str, ...], status: int
) -> None:
    """The status says whether a condition holds of what is compared with the first."""
    ids = [results[place].experiment.id for place in places]
    assert main(["compare", *ids, *more]) == status


def test_reports(results: list[Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is written and printed is what Python says."""
    first, second = (one.experiment.id for one in results)
    files = {name: str(tmp_path / name) for name in ("markdown", "json")}
    said = [word for name, path in files.items() for word in (f"--{name}", path)]
    assert main(["compare", first, second, *said]) == 1
    told = json.loads((tmp_path / "json").read_text())
    assert (told["verdict"], len(told["regressions"])) == ("worse", 14)
    assert "| exact |" in (tmp_path / "markdown").read_text()
    printed = capsys.readouterr()
    assert "worse than right" in printed.out
    assert printed.err == "otel-ml: --fail-if worse\n"


def test_baseline_is_named(
    collector: CollectorProcess, results: list[Result], capsys: pytest.CaptureFixture[str]
) -> None:
    """The experiment that is tagged is the baseline of the next one."""
    assert main(["baseline", "set", results[0].experiment.id]) == 0
    assert capsys.readouterr().out.startswith("baseline is right on qa, ")
    client = Client("tried", endpoint=collector.endpoint, join=False)
    result = client.evaluate(wrong, QA, [exact], baseline="baseline", name="again")
    assert result.baseline is not None
    assert result.baseline.experiment.id == results[0].experiment.id
    assert result.verdict == "worse"


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "no-id", "no-id"),
        ("compare", f"{'1' * 32}-{'1' * 16}", f"{'2' * 32}-{'2' * 16}"),
        ("compare", "one"),
        ("baseline", "set", f"{'1' * 32}-{'1' * 16}"),
    ],
)
def test_wrong_words(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """What is not there is said in a line, with status 2."""
    assert main([*words]) == 2
    assert capsys.readouterr().err
