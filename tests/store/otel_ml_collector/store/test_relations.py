"""Tests that runs and scores are queried through relations, and of the relations' contents."""

import re
from itertools import permutations, product
from pathlib import Path
from typing import Final

import pytest

import otel_ml_collector
from otel_ml_collector.judges.find import find_judges
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.span import Value
from otel_ml_collector.store.counted import (
    ANY_TIME,
    RECORDED,
    CountedRuns,
)
from otel_ml_collector.store.reader import Row, run_id_of, winners
from otel_ml_collector.store.runs import KEY, Key, read_runs
from otel_ml_collector.store.scores import BY_RUN, all_scores, newest_scores
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.versions.find import find_models
from tests.store.otel_ml_collector.query.test_judges import say
from tests.store.otel_ml_collector.store.test_calls import make_answer
from tests.store.otel_ml_collector.test_experiments import make_experiment, make_runs
from tests.support.otel_ml_collector.spans import NOW_NS, make_call, make_record, span_id
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import sampled

_FOLDER: Final = Path(otel_ml_collector.__file__).parent
# Migrations of older schemas stay unchanged.
_NAMING: Final = {"store/counted.py", "store/scores.py", "store/migrations.py"} | {
    "store/passes.py"  # the newest arrival of any run
}
_TABLES: Final = re.compile(r"\b(?:FROM|JOIN) (?:runs|scores)\b|(?<!_)\bruns FINAL\b")


def test_asked_by_name() -> None:
    """Only the modules of the relations refer to the tables of runs and scores in SQL."""
    found = {
        str(file.relative_to(_FOLDER))
        for file in _FOLDER.rglob("*.py")
        if _TABLES.search(file.read_text())
    }
    assert found <= _NAMING


@sampled(1)
@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_one_word_is_last(store: Store, project: str, order: tuple[int, ...]) -> None:
    """For scores with equal times, every query uses the same one as the newest."""
    call = make_call()
    scores = [say(call, "aa", 0.25), say(call, "bb", 0.75), say(call, "aa", 0.5, after_s=0.5)]
    store.take(project, call)
    for place in order:
        store.take(project, scores[place])
    [listed] = find_runs(store.reader, RunsQuery(project), NOW_NS).runs
    assert listed.scores == {"grounded": 0.75}
    filtered = RunsQuery(project, 'scores["grounded"] == 0.75')
    assert len(find_runs(store.reader, filtered, NOW_NS).runs) == 1
    [ordered] = find_runs(store.reader, RunsQuery(project, order="lowest:grounded"), NOW_NS).runs
    assert ordered.scores == listed.scores
    [last] = store.reader.rows(
        newest_scores(all_scores(), by=BY_RUN, columns=("score", "judge_version")),
        {"project": project},
    )
    assert (last["score"], last["judge_version"]) == (0.75, "bb")


def test_two_people_at_once(store: Store, project: str) -> None:
    """Two reviewers' labels of one nanosecond are both stored, once each even if sent again."""
    call = make_call()
    said: dict[str, Value] = {"otel_ml.judge.name": "liked", "otel_ml.source": "human"}
    words = [
        make_record("evaluation", call, {**said, "otel_ml.score.value": value}, span_id=span_id(at))
        for at, value in enumerate((4.0, 2.0), 50)
    ]
    for _ in range(2):
        store.take(project, call, *words)
    rows = store.reader.rows(
        Sql("SELECT score FROM scores FINAL WHERE project = {project:String} ORDER BY score"),
        {"project": project},
    )
    assert [row["score"] for row in rows] == [2.0, 4.0]
    [listed] = find_runs(store.reader, RunsQuery(project), NOW_NS).runs
    assert listed.scores == {"liked": 2.0}  # the one with the higher ID


def test_models_and_judges_of_experiments(store: Store, project: str) -> None:
    """Models and judges of experiments have a separate count of experiment runs."""
    experiment = make_experiment(1)
    store.take(project, experiment, *make_runs(experiment, "pfpx"))
    [model] = find_models(store.reader, project)
    assert (model.model, model.runs, model.errors, model.experiment_runs) == ("answer", 0, 0, 4)
    [judge] = find_judges(store.reader, project)
    assert (judge.newest.evaluations, judge.newest.experiment_evaluations) == (0, 3)
    call = make_call("answer")
    store.take(project, call, say(call, "", 0.75))
    [model] = find_models(store.reader, project)
    assert (model.runs, model.experiment_runs) == (1, 4)


def test_left_out_alike(store: Store, project: str) -> None:
    """Statistics leave out the runs that are resolved as repeated or as those of an experiment."""
    experiment = make_experiment(1)
    first, *others = make_runs(experiment, "pf")
    inner = make_call(
        "inner", trace_id=first.trace_id, parent_span_id=first.span_id, span_id=span_id(82)
    )
    store.take(project, experiment, first, inner, *others)
    store.take(project, *make_answer(81))
    sql = Sql("SELECT {key}, experiment FROM {recorded} WHERE {counted}")

    def read(counted: CountedRuns) -> list[Row]:
        asked = sql.fill(key=KEY, recorded=RECORDED, counted=counted.sql)
        return store.reader.rows(asked, {"project": project})

    every = read(CountedRuns(ANY_TIME, repeats=False, items=False, kinds=True))
    keys = [Key(row["start_ns"], row["trace_id"], row["span_id"]) for row in every]
    stored = winners(read_runs(store.reader, project, keys))
    repeated = {run_id_of(row) for row in stored if row["record_of"].strip("0")}
    inside = {run_id_of(row) for row in stored if row["trace_experiment"]}
    named = {run_id_of(row) for row in every if row["experiment"]}
    assert repeated
    assert inside - named
    for repeats, items in product((True, False), repeat=2):
        rows = read(CountedRuns(ANY_TIME, repeats=repeats, items=items, kinds=True))
        left_out = (repeated if repeats else set()) | (inside | named if items else set())
        assert {*map(run_id_of, rows)} == {*map(run_id_of, every)} - left_out
