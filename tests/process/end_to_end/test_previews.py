"""Lists show a run in the same way whether or not its previews were sent with it."""

from otel_ml import Client
from tests.support.collector import CollectorProcess


def test_line_of_a_run_is_the_collector_s(collector: CollectorProcess) -> None:
    """A run without previews is listed and stored like a run with previews."""
    question = "Where is my parcel? " * 400

    def ask(client: Client) -> None:
        client.trace(name="ask")(lambda question: question.upper())(question)
        assert client.flush(30)

    client = Client("previews", endpoint=collector.endpoint, join=False)
    wanted = []
    for _ in range(2):
        wanted.append(client._recorder.wants_previews)
        ask(client)
    assert wanted == [True, False]
    first, second = collector.runs("previews")
    assert [first["inputs"], first["outputs"]] == [second["inputs"], second["outputs"]]
    assert first["inputs"].startswith("Where is my parcel?")
    for run in (first, second):
        whole = collector.get(f"/runs/{run['run_id']}")
        assert (whole["inputs"], whole["outputs"]) == ({"question": question}, question.upper())
