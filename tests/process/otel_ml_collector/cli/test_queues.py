"""`otel-ml queue` creates, lists and shows labelling queues."""

from collections.abc import Iterator

import pytest

from otel_ml import Client
from otel_ml.reader import Reader
from tests.process.otel_ml_collector.cli.test_records import rows
from tests.support.collector import running
from tests.support.otel_ml_collector.cli.program import otel_ml
from tests.support.sampling import sampled

PLACE = ("--project", "shop")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a collector with two runs."""
    with running(tmp_path_factory.mktemp("data")) as opened:
        client = Client("shop", endpoint=opened.endpoint)
        answer = client.trace(name="answer")(str.upper)
        for text in ("a", "b"):
            answer(text)
        assert client.flush()
        client.close()
        yield opened.endpoint


def test_queues(endpoint: str) -> None:
    """A new queue is listed with the runs left to label, and shows its answers by key."""
    labels = ("--label", "Yes=pass", "--label", "Middling", "--label", "Unclear=none")
    made = otel_ml(
        endpoint, "queue", "make", "tone", *PLACE, "--judge", "polite", "--people", "2", *labels
    )
    assert rows(made.stdout) == [
        ["key", "answer", "passed", "note", "is_answer"],
        ["1", "Yes", "true", "-", "true"],
        ["2", "Middling", "-", "-", "true"],
        ["3", "Unclear", "-", "-", "false"],
    ]
    scale = (
        "--scale",
        "1:5:4",
        "--order",
        "disagreement",
        "--open",
        "--where",
        'model == "answer"',
    )
    assert (
        otel_ml(endpoint, "queue", "make", "stars", *PLACE, "--judge", "s", *scale).returncode == 0
    )
    columns = ("--columns", "name,judge,people,runs,left")
    listed = otel_ml(endpoint, "queue", "list", *PLACE, *columns)
    assert rows(listed.stdout) == [
        ["name", "judge", "people", "runs", "left"],
        ["stars", "s", "1", "2", "2"],
        ["tone", "polite", "2", "2", "2"],
    ]
    shown = otel_ml(endpoint, "queue", "show", "stars", *PLACE, "--columns", "answer,passed")
    assert rows(shown.stdout)[3:] == [["3", "false"], ["4", "true"], ["5", "true"]]
    with Reader("shop", endpoint=endpoint) as reader:
        assert reader.queue("stars")["hidden"] is False
        assert reader.queue("tone")["hidden"] is True


@sampled(2)
@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (("make", "x", "--judge", "j", "--label", "=pass"), 2, b"Invalid label '=pass'"),
        (("make", "x", "--judge", "j", "--label", "Yes=maybe"), 2, b"Invalid label"),
        (("make", "x", "--judge", "j", "--scale", "1"), 2, b"Invalid scale '1'"),
        (("make", "x", "--judge", "j", "--scale", "1:50"), 2, b"at most 9 numbers"),
        (("make", "x", "--judge", "j", "--where", "foo =="), 2, b"Something is missing after =="),
        (("show", "x"), 5, b"There is no queue 'x'"),
    ],
)
def test_refused(endpoint: str, flags: tuple[str, ...], status: int, said: bytes) -> None:
    """An error is one line, and the exit status depends on its kind."""
    done = otel_ml(endpoint, "queue", *flags, *PLACE)
    assert done.returncode == status
    assert said in done.stderr
