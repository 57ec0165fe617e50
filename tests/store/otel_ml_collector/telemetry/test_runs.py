"""The metrics of recorded runs and scores."""

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.span import Span
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.runs import find_experiment_traces
from otel_ml_collector.telemetry.runs import (
    LargestProjects,
    RunNumbers,
    VersionKind,
    Versions,
)
from tests.store.otel_ml_collector.store.test_calls import make_answer
from tests.store.otel_ml_collector.test_experiments import make_experiment, make_runs
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    SECOND_NS,
    make_call,
    make_record,
    make_span,
    map_all,
)
from tests.support.otel_ml_collector.stores import open_store
from tests.support.otel_ml_collector.telemetry.page import Numbers, read_collector
from tests.support.sampling import at_night

DIGEST: Final = "0123456789abcdef"
VERSION: Final = {"otel_ml.model.version": DIGEST}
RUNS: Final = "otel_ml_runs_total"


def no_versions(project: str, kind: VersionKind, names: Sequence[str]) -> Versions:
    """Return no versions, like a store without any."""
    return {}


def count(numbers: RunNumbers, *spans: Span, project: str = "p") -> None:
    """Count spans as if they were stored."""
    numbers.count(map_all(*spans, project=project))


def read(numbers: RunNumbers, prefix: str = "otel_ml_") -> Numbers:
    """Read the metrics that are not 0."""
    page = read_collector(numbers)
    return {key: value for key, value in page.items() if value and key[0].startswith(prefix)}


def evaluate(call: Span, judge: str, **told: str | float | bool) -> Span:
    """Make a judge's later evaluation of a call."""
    attributes = {f"otel_ml.{name}": value for name, value in told.items()}
    return make_record(
        "evaluation",
        call,
        {"otel_ml.judge.name": judge, **attributes},
    )


def test_runs() -> None:
    """Runs, errors, durations and tokens are counted by project, model and version."""
    numbers = RunNumbers((), no_versions)
    tokens = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 7}
    count(
        numbers,
        make_call("answer", {**VERSION, **tokens}, end_ns=NOW_NS + 30 * MS_NS),
        make_call("answer", {**VERSION, "otel_ml.outcome": "error"}, end_ns=NOW_NS + SECOND_NS),
        make_call("rank", end_ns=NOW_NS + 500 * MS_NS),
    )
    answer, rank = ("answer", "p", "01234567"), ("rank", "p", "")
    assert read(numbers) == {
        (RUNS, answer): 2,
        (RUNS, rank): 1,
        ("otel_ml_run_errors_total", answer): 1,
        ("otel_ml_run_tokens_total", ("answer", "p", "input", "01234567")): 100,
        ("otel_ml_run_tokens_total", ("answer", "p", "output", "01234567")): 7,
        ("otel_ml_run_duration_seconds_count", answer): 2,
        ("otel_ml_run_duration_seconds_count", rank): 1,
        ("otel_ml_run_duration_seconds_sum", answer): 1.03,
        ("otel_ml_run_duration_seconds_sum", rank): 0.5,
    }


def test_cost() -> None:
    """Costs are summed over the runs whose cost is known."""
    numbers = RunNumbers((), no_versions)
    for cost in (0.25, 0.5):
        count(numbers, make_call("answer", {"gen_ai.usage.cost": cost}))
    count(numbers, make_call("answer"), make_call("unpriced"))
    count(numbers, make_call("free", {"gen_ai.usage.cost": 0.0}))
    page = read_collector(numbers)
    assert {key: value for key, value in page.items() if key[0].startswith("otel_ml_run_cost")} == {
        ("otel_ml_run_cost_usd_total", ("answer", "p", "")): 0.75,
        ("otel_ml_run_cost_usd_total", ("free", "p", "")): 0.0,
    }


def test_latency() -> None:
    """A latency is counted in the bucket of its upper bound, and in all larger ones."""
    numbers = RunNumbers((), no_versions)
    count(numbers, make_call("answer", end_ns=NOW_NS + 40 * MS_NS))
    count(numbers, make_call("answer", end_ns=NOW_NS + 40 * MS_NS + 1))
    count(numbers, make_call("answer", end_ns=NOW_NS + 90 * SECOND_NS))
    page = read_collector(numbers, without=())
    bounds = {key[1][0]: value for key, value in page.items() if key[0].endswith("_bucket")}
    assert (bounds["0.02"], bounds["0.04"], bounds["0.08"]) == (0, 1, 2)
    assert (bounds["81.92"], bounds["+Inf"]) == (2, 3)


def test_other_spans() -> None:
    """Spans that are not model calls are not counted."""
    numbers = RunNumbers((), no_versions)
    count(numbers, make_span("GET /"), make_call("answer"))
    assert read(numbers, RUNS) == {(RUNS, ("answer", "p", "")): 1}


def test_redelivery() -> None:
    """A run that is delivered twice is counted once."""
    numbers = RunNumbers((), no_versions)
    call = make_call("answer")
    for _ in range(2):
        count(numbers, call)
    assert read(numbers, RUNS) == {(RUNS, ("answer", "p", "")): 1}


def test_redelivery_to_another_project() -> None:
    """A run that is in two projects is counted in both."""
    numbers = RunNumbers((), no_versions)
    call = make_call("answer")
    count(numbers, call, project="p")
    count(numbers, call, project="q")
    assert read(numbers, RUNS) == {(RUNS, ("answer", one, "")): 1 for one in ("p", "q")}


def test_forgotten_redelivery() -> None:
    """A run redelivered after more than twice as many others as are remembered is counted again."""
    numbers = RunNumbers((), no_versions, recent=10)
    call = make_call("answer")
    count(numbers, call, *(make_call("others") for _ in range(9)), call)
    assert read(numbers, RUNS)[RUNS, ("answer", "p", "")] == 1
    count(numbers, *(make_call("others") for _ in range(20)), call)
    assert read(numbers, RUNS)[RUNS, ("answer", "p", "")] == 2


def test_versions() -> None:
    """The label of a version is its number in the store, which is read once."""
    asked: list[tuple[str, Sequence[str]]] = []

    def versions(project: str, kind: VersionKind, models: Sequence[str]) -> Versions:
        asked.append((project, models))
        return {("answer", DIGEST, ""): 3, ("answer", DIGEST, "s"): 3, ("answer", "other", ""): 1}

    numbers = RunNumbers((), versions)
    shape = {"otel_ml.model.output_schema": "s"}
    count(numbers, make_call("answer", VERSION), make_call("answer", {**VERSION, **shape}))
    for _ in range(2):
        assert read(numbers, RUNS) == {(RUNS, ("answer", "p", "v3")): 2}
    assert asked == [("p", ["answer"])]


def test_versions_of_a_store_in_trouble() -> None:
    """While the store is unavailable, the first digits of the digest replace the number."""

    def versions(project: str, kind: VersionKind, models: Sequence[str]) -> Versions:
        raise Unavailable("The store has trouble")

    numbers = RunNumbers((), versions)
    count(numbers, make_call("answer", VERSION))
    assert read(numbers, RUNS) == {(RUNS, ("answer", "p", "01234567")): 1}


def test_tags() -> None:
    """The configured tags are labels; a missing tag has an empty label."""
    numbers = RunNumbers(("client", "is-new"), no_versions)
    count(
        numbers,
        make_call("answer", {"otel_ml.tag.client": "bigshot", "otel_ml.tag.is-new": True}),
        make_call("answer", {"otel_ml.tag.client": "bigshot", "otel_ml.tag.color": "red"}),
    )
    samples = next(one for one in numbers.collect() if one.name == "otel_ml_runs").samples
    assert [(sample.labels, sample.value) for sample in samples] == [
        (
            {
                "project": "p",
                "model": "answer",
                "version": "",
                "tag_client": "bigshot",
                "tag_is_new": is_new,
            },
            1,
        )
        for is_new in ("true", "")
    ]


def test_long_tag() -> None:
    """The label of a tag is cut to 100 characters."""
    numbers = RunNumbers(("client",), no_versions)
    count(numbers, make_call("answer", {"otel_ml.tag.client": "c" * 1_000}))
    assert read(numbers, RUNS) == {(RUNS, ("answer", "p", "c" * 100, "")): 1}


def test_scores() -> None:
    """Scores are counted by judge with the run's labels, inside the run or as records."""
    numbers = RunNumbers((), no_versions)
    inside = make_call(
        "answer", {**VERSION, "otel_ml.score.grounded": 0.25, "otel_ml.passed.grounded": False}
    )
    separate = make_call("answer", VERSION)
    count(numbers, inside, separate)
    count(numbers, evaluate(separate, "grounded", **{"score.value": 0.75, "passed": True}))
    failed = {"otel_ml.judge.name": "polite", "error.type": "ValueError"}
    count(numbers, make_record("evaluation", separate, failed))
    labels = ("answer", "p", "01234567")
    assert read(numbers, "otel_ml_judge") == {
        ("otel_ml_judge_score_count", ("grounded", "", *labels)): 2,
        ("otel_ml_judge_score_sum", ("grounded", "", *labels)): 1,
        ("otel_ml_judge_verdicts_total", ("grounded", "", "answer", "true", "p", "01234567")): 1,
        ("otel_ml_judge_verdicts_total", ("grounded", "", "answer", "false", "p", "01234567")): 1,
        ("otel_ml_judge_errors_total", ("polite", "", *labels)): 1,
    }


def test_score_twice() -> None:
    """A judge's score of a run is counted once, even if two spans have it."""
    numbers = RunNumbers((), no_versions)
    call = make_call("answer")
    count(numbers, call)
    for _ in range(2):
        count(numbers, evaluate(call, "grounded", **{"score.value": 0.75}))
    assert read(numbers, "otel_ml_judge") == {
        ("otel_ml_judge_score_count", ("grounded", "", "answer", "p", "")): 1,
        ("otel_ml_judge_score_sum", ("grounded", "", "answer", "p", "")): 0.75,
    }


def test_versions_of_a_judge() -> None:
    """Versions of a judge are counted separately, labelled with their numbers once known."""

    def versions(project: str, kind: VersionKind, names: Sequence[str]) -> Versions:
        return {("grounded", "a1", ""): 1} if kind == "judge" else {}

    numbers = RunNumbers((), versions)
    call = make_call("answer")
    count(numbers, call)
    for version, score in (("a1", 0.25), ("0123456789", 0.75)):
        told: dict[str, str | float | bool] = {"score.value": score, "judge.version": version}
        count(numbers, evaluate(call, "grounded", **told))
    assert read(numbers, "otel_ml_judge") == {
        ("otel_ml_judge_score_count", ("grounded", "v1", "answer", "p", "")): 1,
        ("otel_ml_judge_score_sum", ("grounded", "v1", "answer", "p", "")): 0.25,
        ("otel_ml_judge_score_count", ("grounded", "01234567", "answer", "p", "")): 1,
        ("otel_ml_judge_score_sum", ("grounded", "01234567", "answer", "p", "")): 0.75,
    }


def test_score_of_an_unknown_run() -> None:
    """A score whose run was not counted recently has no model."""
    numbers = RunNumbers((), no_versions)
    count(numbers, evaluate(make_call("answer"), "grounded", **{"score.value": 0.75}))
    assert read(numbers, "otel_ml_judge_score_c") == {
        ("otel_ml_judge_score_count", ("grounded", "", "", "p", "")): 1
    }


def test_people() -> None:
    """Reviewers' scores do not count as scores of a judge."""
    numbers = RunNumbers((), no_versions)
    call = make_call("answer")
    count(numbers, call, evaluate(call, "feedback", source="human", **{"score.value": 1.0}))
    assert read(numbers, "otel_ml_judge") == {}


def test_bound() -> None:
    """Runs beyond the limit of label sets are counted as model other, and in a separate metric."""
    numbers = RunNumbers((), no_versions, sets=2)
    count(numbers, *(make_call(f"m{number}") for number in (1, 2, 3, 4, 1)))
    assert read(numbers, "otel_ml_runs") == {
        (RUNS, ("m1", "p", "")): 2,
        (RUNS, ("m2", "p", "")): 1,
        (RUNS, ("other", "p", "")): 2,
        ("otel_ml_runs_folded_total", ()): 2,
    }


def test_bound_of_projects() -> None:
    """Of 300 projects, the first 100 have their own label sets, and all others share one."""
    numbers = RunNumbers((), no_versions)
    for number in range(300):
        count(numbers, make_call("m"), project=f"p{number}")
    runs = read(numbers, RUNS)
    assert len(runs) == 100 + 1
    assert runs[RUNS, ("other", "other", "")] == 200
    assert sum(runs.values()) == 300


def test_larger_project() -> None:
    """A growing project takes over the smallest project's label set, without counting twice."""
    numbers = RunNumbers((), no_versions, projects=2)
    for project, runs in (("a", 9), ("b", 2), ("c", 7)):
        for _ in range(runs):
            call = make_call("m")
            count(numbers, call, evaluate(call, "j", **{"score.value": 1}), project=project)
    # The first 4 runs of c counted as other. With the fifth it had twice as many as b and took
    # over.
    assert read(numbers, RUNS) == {
        (RUNS, ("m", "a", "")): 9,
        (RUNS, ("other", "other", "")): 4,
        (RUNS, ("m", "c", "")): 3,
    }
    scores = read(numbers, "otel_ml_judge_score_count")
    assert {key[1][3]: value for key, value in scores.items()} == {"a": 9, "other": 4, "c": 3}
    count(numbers, make_call("m"), project="b")
    assert read(numbers, RUNS)[RUNS, ("other", "other", "")] == 5


def test_forgotten_sizes() -> None:
    """The number of remembered projects is limited."""
    largest = LargestProjects(1, sized=10)
    for _ in range(8):
        largest.add_run("large")
    gone = [largest.add_run(f"p{number}") for number in range(25)]
    assert gone == [None] * 25
    assert "large" in largest


def test_bound_of_judges() -> None:
    """Scores beyond the limit are counted as judge other."""
    numbers = RunNumbers((), no_versions, sets=2)
    call = make_call("m")
    count(numbers, call)
    for number in range(5):
        count(numbers, evaluate(call, f"j{number}", **{"score.value": 1}))
    assert read(numbers, "otel_ml_judge_score_c") == {
        ("otel_ml_judge_score_count", ("j0", "", "m", "p", "")): 1,
        ("otel_ml_judge_score_count", ("j1", "", "m", "p", "")): 1,
        ("otel_ml_judge_score_count", ("other", "", "other", "p", "")): 3,
    }


def test_infinite_score() -> None:
    """An infinite score counts as an error of its judge, and is not summed."""
    numbers = RunNumbers((), no_versions)
    call = make_call("answer")
    said = evaluate(call, "grounded", **{"score.value": math.inf, "passed": True})
    count(numbers, call, said)
    assert read(numbers, "otel_ml_judge") == {
        ("otel_ml_judge_errors_total", ("grounded", "", "answer", "p", "")): 1
    }


def test_failed_judge() -> None:
    """A failed judge counts neither as a score nor as a pass."""
    numbers = RunNumbers((), no_versions)
    call = make_call("answer")
    said = evaluate(call, "grounded", **{"score.value": math.nan, "passed": True})
    count(numbers, call, said)
    assert read(numbers, "otel_ml_judge") == {
        ("otel_ml_judge_errors_total", ("grounded", "", "answer", "p", "")): 1
    }


def test_scores_of_experiments() -> None:
    """Scores of experiment runs are not counted, like the runs themselves."""
    numbers = RunNumbers((), no_versions)
    experiment = make_experiment(1)
    count(numbers, experiment, *make_runs(experiment, "pfpf"))
    asked = make_call("answer")
    count(numbers, asked, evaluate(asked, "exact", **{"score.value": 0.5}))
    assert {key[0]: value for key, value in read(numbers, "otel_ml_judge_score").items()} == {
        "otel_ml_judge_score_count": 1,
        "otel_ml_judge_score_sum": 0.5,
    }


@at_night
def test_scores_of_older_experiments(tmp_path: Path) -> None:
    """After a restart, scores of older experiments are not counted as production."""
    experiment, asked = make_experiment(1), make_call("answer")
    item_run, *_ = make_runs(experiment, "p")
    with open_store(tmp_path) as store:
        store.take("p", experiment, item_run, asked)
        restarted = RunNumbers(
            (),
            no_versions,
            find_experiment_traces=partial(find_experiment_traces, store.reader),
        )
        for span in (item_run, asked):
            count(restarted, evaluate(span, "exact", **{"score.value": 0.5}))
        assert {key[0]: value for key, value in read(restarted, "otel_ml_judge_score").items()} == {
            "otel_ml_judge_score_count": 1,
            "otel_ml_judge_score_sum": 0.5,
        }


def test_scores_of_a_call_of_several_records(tmp_path: Path) -> None:
    """If several records of one call are scored, a single score is counted."""
    with open_store(tmp_path) as store:
        watch = CallResolver(store.connections)
        numbers = RunNumbers((), no_versions, watch.resolve)
        answer = make_answer(1)
        spans = [*answer, *(evaluate(span, "exact", **{"score.value": 0.5}) for span in answer[1:])]
        records = store.take("p", *spans)
        numbers.count(records, watch.note(records, time.time_ns()))
        assert {key[0]: value for key, value in read(numbers, "otel_ml_judge_score").items()} == {
            "otel_ml_judge_score_count": 1,
            "otel_ml_judge_score_sum": 0.5,
        }
