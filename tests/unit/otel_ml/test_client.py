"""The client: its project and its judges."""

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client, Judge
from tests.support.otel_ml.recording import Recording, attributes


def test_project_is_the_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument wins over the environment, and the environment over the default."""
    assert Client().project == "default"
    monkeypatch.setenv("OTEL_ML_PROJECT", "from the environment")
    assert Client().project == "from the environment"
    assert Client("shop").project == "shop"


@pytest.mark.parametrize("project", ["a" * 129, "a\nb", "a\x00", "\ud800"])
def test_odd_project_is_refused(project: str) -> None:
    """A project name that is not 1 to 128 printable characters is refused."""
    with pytest.raises(ValueError, match=r"^Invalid project .*: expected 1 to 128 printable chara"):
        Client(project)


@pytest.mark.parametrize("project", ["a" * 128, "Concept Project", "épicerie", "a/b:c"])
def test_project_is_on_every_span(project: str) -> None:
    """The project is on runs and on records about them, whatever characters it has."""
    exporter = InMemorySpanExporter()
    client = Client(project, exporter=exporter)
    with client.run("training") as run:
        run.log_metrics({"loss": 0.5})
    assert client.flush()
    client.close()
    found = [attributes(span)["otel_ml.project"] for span in exporter.get_finished_spans()]
    assert found == [project] * 4


def test_judge_keeps_its_tag(client: Client) -> None:
    """Adding the same judge twice gives the same tag, and the tag identifies the judge."""
    first = client.add_judge(Judge("length", "", lambda output: float(len(output))))
    assert client.add_judge(Judge("length", "", lambda output: float(len(output)))) == first
    assert first.startswith("length@")
    assert client.assess(first)(lambda: 1)() == 1


def test_judge_of_another_client_is_unknown(client: Client) -> None:
    """A judge's tag is unknown to other clients."""
    tag = Client("other").add_judge(Judge("length", "", lambda output: float(len(output))))
    with pytest.raises(ValueError, match=r"^Unknown judge 'length@"):
        client.assess(tag)


@pytest.mark.parametrize("name", ["lenght", "length", "Length@1"])
def test_similar_judge(client: Client, name: str) -> None:
    """The error for a misspelled judge suggests the right name."""
    client.add_judge(Judge("length", "", lambda output: float(len(output))))
    with pytest.raises(ValueError, match=r"; did you mean length\?$"):
        client.assess(name)


def test_added_judge_may_be_replaced(recording: Recording) -> None:
    """Two versions of a judge can score at the same time, each under its own tag."""
    one = recording.client.add_judge(Judge("any", "", lambda: 1))
    two = recording.client.add_judge(Judge("any", "", lambda: 2))
    recording.client.assess(one)(lambda: None)()
    recording.client.assess(two)(lambda: None)()
    found = [attributes(span)["otel_ml.score.any"] for span in recording.runs()]
    assert found == [1.0, 2.0]


def test_assess_takes_the_options_of_trace(recording: Recording) -> None:
    """`assess` takes name, kind, tags and params like `trace`."""
    recording.client.assess(
        Judge("any", "", lambda: 1), name="answer", kind="agent", tags={"a": 1}, params={"b": 2}
    )(lambda: None)()
    found = attributes(recording.run())
    assert {
        name: found[f"otel_ml.{name}"] for name in ("model.name", "kind", "tag.a", "params")
    } == {"model.name": "answer", "kind": "agent", "tag.a": 1, "params": '{"b":2}'}


def test_assess_without_judges_is_trace(recording: Recording) -> None:
    """`assess` without a judge records the call without scores."""
    recording.client.assess()(lambda: None)()
    assert "otel_ml.judges" not in attributes(recording.run())


def test_opened_run_has_its_kind(recording: Recording) -> None:
    """A run opened by hand has the given kind."""
    recording.client.run("answer", kind="chain").end()
    assert attributes(recording.run())["otel_ml.kind"] == "chain"


def test_opened_run_refuses_an_unknown_kind(client: Client) -> None:
    """Opening a run with an unknown kind is refused."""
    with pytest.raises(ValueError, match=r"^Invalid kind 'x': expected one of "):
        client.run("answer", kind="x")


def test_changed_options_change_nothing(recording: Recording) -> None:
    """Changing tags after decoration has no effect on runs."""
    tags: dict[str, object] = {"a": 1}
    traced = recording.client.trace(tags=tags)(lambda: None)
    tags["a"] = 2
    traced()
    assert attributes(recording.run())["otel_ml.tag.a"] == 1


@pytest.mark.parametrize("address", ["http://localhost:4318", " HTTPS://me:hidden@collector"])
def test_address_as_api_key(address: str) -> None:
    """An address as the second argument is refused, because that is the API key."""
    with pytest.raises(ValueError, match="second argument of Client is the API key") as raised:
        Client("shop", address)
    assert "hidden" not in str(raised.value)
