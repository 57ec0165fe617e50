"""Scores of a request count for the versions of the traced functions inside it."""

from typing import Any

from otel_ml_collector.span import Span
from otel_ml_collector.times import DAY_NS, to_rfc3339
from tests.store.otel_ml_collector.query.test_judges import say
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS, make_call, make_span
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night

MINUTE_NS = 60 * SECOND_NS
WINDOW = f"start={to_rfc3339(NOW_NS - DAY_NS)}&end={to_rfc3339(NOW_NS + SECOND_NS)}"


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


@at_night
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


def make_visits(number: int) -> list[Span]:
    """Make requests of two clients. Those of v2 for `b` fail; each has two calls of the version."""
    spans = []
    for at in range(number):
        turn = make_turn(at)
        client = "ab"[at % 2]
        version = "v1" if at < number // 2 else "v2"
        fails = version == "v2" and client == "b"
        for place in range(2):
            run = make_inside(turn, version=version, place=place)
            run.attributes["otel_ml.tag.client"] = client  # type: ignore[index]
            spans.append(run)
        spans += [turn, say(turn, "", 0.0 if fails else 1.0)]
    return spans


def test_statistics_by_version(service: Service, project: str) -> None:
    """Statistics by version count a request's score for its version, and once in the total."""
    service.store.take(project, *make_visits(80))
    path = f"/api/v1/projects/{project}/stats?group=version&bucket=1h&{WINDOW}"
    answer = ask(service.app, path).json
    groups = {
        group["group"]: [judge["evaluations"] for judge in group["total"]["judges"]]
        for group in answer["groups"]
    }
    assert groups["answer:v1"] == groups["answer:v2"] == [40]
    in_hours = [
        judge["evaluations"]
        for group in answer["groups"]
        if group["group"] == "answer:v2"
        for bucket in group["buckets"]
        for judge in bucket["judges"]
    ]
    assert (len(in_hours) > 1, sum(in_hours)) == (True, 40)
    assert [judge["evaluations"] for judge in answer["total"]["judges"]] == [80]


@at_night
def test_slices(service: Service, project: str) -> None:
    """A slice of a function counts the scores of the requests around it, once for each."""
    service.store.take(project, *make_visits(240))
    answer = ask(service.app, f"/api/v1/projects/{project}/slices?{WINDOW}").json
    [item] = [one for one in answer["slices"] if one["name"] == "client = b"]
    [cell] = [cell for cell in item["cells"] if cell["figure"] == "grounded"]
    assert (cell["n"], cell["value"], cell["rest"]) == (120, 0.5, 1.0)
    assert item["word"] == "worse"
