"""Acknowledged runs are stored exactly once, whatever happens to the collector."""

from tests.bench.crashed import measure
from tests.support.collector import CollectorProcess
from tests.support.examples import examples
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.sampling import harder

KILLS = examples(20, on_commit=1)


@harder
def test_kill_loses_nothing_acknowledged() -> None:
    """After each kill under load, every acknowledged run appears exactly once in each response."""
    found = measure(KILLS)
    assert found.is_right, found
    assert found.acknowledged >= KILLS * 16
    assert found.unanswered >= KILLS


def test_same_request_twice_is_one_set_of_records(collector: CollectorProcess) -> None:
    """Sending a request twice does not change any response."""
    project = "twice"
    body = make_request(project, 200).SerializeToString()
    answers = []
    for _ in range(2):
        collector.deliver(body, PROTOBUF)
        answers.append(
            (
                collector.runs(project),
                collector.get(f"/projects/{project}/models"),
                collector.get(f"/projects/{project}/models/load/versions"),
                [
                    one
                    for one in collector.get("/projects")["projects"]
                    if one["project"] == project
                ],
            )
        )
    assert answers[0] == answers[1]
    assert len(answers[0][0]) == 200


def test_answer_means_queryable(collector: CollectorProcess) -> None:
    """Runs can be queried as soon as their request is acknowledged, with payloads and scores."""
    request = make_request("at once", 1)
    collector.deliver(request.SerializeToString(), PROTOBUF)
    [run_id] = run_ids(request)
    run = collector.get(f"/runs/{run_id}")
    assert (run["inputs"], run["scores"]) == ({"question": "question 0"}, {"length": 0.0})
