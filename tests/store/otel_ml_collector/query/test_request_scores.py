"""Scores of a request count for the versions of the traced functions inside it."""

from typing import Any

from otel_ml_collector.span import Span
from tests.store.otel_ml_collector.query.test_judges import say
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS, make_call, make_span
from tests.support.otel_ml_collector.stores import Service

MINUTE_NS = 60 * SECOND_NS


def make_inside(around: Span, model: str = "answer", version: str = "v1", place: int = 0) -> Span:
    """Make a run of a version inside another run."""
    start_ns = around.start_ns + (place + 1) * SECOND_NS
    return make_call(
        model,
        {"otel_ml.model.version": version, "otel_ml.model.output_schema": "s"},
        trace_id=around.trace_id,
        parent_span_id=around.span_id,
        start_ns=start_ns,
        end_ns=start_ns + SECOND_NS,
    )


def make_turn(at: int) -> Span:
    """Make a request without a version, a minute after the one before."""
    start_ns = NOW_NS - (300 - at) * MINUTE_NS
    return make_span("turn", {"otel_ml.kind": "span"}, start_ns=start_ns, end_ns=start_ns + 50)


def read_judges(service: Service, project: str, model: str = "answer") -> list[Any]:
    """Read the scores of the only version of a model: number, mean, and those of requests."""
    answer = ask(service.app, f"/api/v1/projects/{project}/models/{model}/versions").json
    [version] = answer["versions"]
    return [(one["evaluations"], one["mean_score"], one["on_request"]) for one in version["judges"]]


def test_once_for_each_request(service: Service, project: str) -> None:
    """A score of a request counts once for each version inside, at any depth."""
    turn = make_turn(0)
    step = make_span("step", parent_span_id=turn.span_id, trace_id=turn.trace_id)
    runs = [make_inside(step), make_inside(step, place=1), make_inside(turn, "rank")]
    service.store.take(project, turn, step, *runs, say(turn, "", 0.25))
    assert read_judges(service, project) == [(1, 0.25, 1)]
    assert read_judges(service, project, "rank") == [(1, 0.25, 1)]
    stats = ask(service.app, f"/api/v1/projects/{project}/stats?all=true").json
    assert sum(one["evaluations"] for one in stats["total"]["judges"]) <= 1


def test_own_score_wins(service: Service, project: str) -> None:
    """If a judge scored the function and its request, only the score of the function counts."""
    turns = [make_turn(at) for at in range(2)]
    runs = [make_inside(turn) for turn in turns]
    said = [say(turn, "", 0.25) for turn in turns]
    service.store.take(project, *turns, *runs, *said, say(runs[0], "", 0.75))
    assert read_judges(service, project) == [(2, 0.5, 1)]


def test_nearest_score_counts(service: Service, project: str) -> None:
    """If several spans around a function have a score of one judge, that of the nearest counts."""
    turn = make_turn(0)
    step = make_span("step", parent_span_id=turn.span_id, trace_id=turn.trace_id)
    service.store.take(
        project, turn, step, make_inside(step), say(turn, "", 0.25), say(step, "", 0.75)
    )
    assert read_judges(service, project) == [(1, 0.75, 1)]


def test_score_of_a_version_stays_with_it(service: Service, project: str) -> None:
    """A score of a run that has a version does not count for the functions inside it."""
    outer = make_call("outer", {"otel_ml.model.version": "v1", "otel_ml.model.output_schema": "s"})
    service.store.take(project, outer, make_inside(outer), say(outer, "", 0.25))
    assert read_judges(service, project) == []
    assert read_judges(service, project, "outer") == [(1, 0.25, 0)]


def test_verdict(service: Service, project: str) -> None:
    """The verdict on two versions uses the scores of the requests, and says so."""
    spans = []
    for at in range(240):
        turn = make_turn(at)
        version = "v1" if at < 120 else "v2"
        passes = at % 10 < (9 if version == "v1" else 2)
        spans += [turn, make_inside(turn, version=version), say(turn, "", float(passes))]
    service.store.take(project, *spans)
    path = f"/api/v1/projects/{project}/models/answer/versions/2/verdict?against=1"
    answer = ask(service.app, path).json
    [judge] = answer["judges"]
    assert (answer["word"], judge["word"], judge["on_request"]) == ("worse", "worse", True)
    assert judge["candidate"]["n"] == 120
