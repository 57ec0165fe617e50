"""The expected results and runs of programs.pickles, for every library that pickles functions."""

from typing import Any, Final

from tests.support.interop.environments import ask
from tests.support.interop.receiver import Receiver

# by hand: the model of each traced function of the program
RUNS: Final = [
    "<lambda>",
    "Model",
    "Model.of_class",
    "Model.predict",
    "Model.static",
    "add",
    "assessed",
    "assessed_in_turn",
    "async_stream",
    "by hand",
    "by hand",
    "chat gpt-4o",
    "coroutine",
    "factorial",
    "factorial",
    "plain",
    "plain",
    "plain",
    "stream",
]


def check_pickles(environment: str, library: str, receiver: Receiver) -> None:
    """Run the program's functions elsewhere and check their results and runs."""
    answers = ask(environment, "pickles", library, OTEL_ML_ENDPOINT=receiver.address)[library]
    assert set(answers.values()) == {2}, answers
    runs = [span for span in receiver.ours.values() if "otel_ml.record" not in span["attributes"]]
    assert sorted(span["name"] for span in runs) == RUNS
    assert len(_values(runs, "plain", "otel_ml.model.version")) == 1  # one of them ran locally
    assert _values(runs, "plain", "otel_ml.project") == {"default"}
    assert _values(runs, "stream", "otel_ml.project") == {"pickles"}
    assert _values(runs, "assessed", "otel_ml.score.same") == {1.0}
    assert _values(runs, "assessed_in_turn", "otel_ml.judges") == {None}
    tags = {value for span in receiver.ours.values() for value in _tag(span, "word")}
    assert tags == {"***"}


def _values(runs: list[dict[str, Any]], name: str, attribute: str) -> set[Any]:
    return {span["attributes"].get(attribute) for span in runs if span["name"] == name}


def _tag(span: dict[str, Any], name: str) -> list[Any]:
    return [value for key, value in span["attributes"].items() if key == f"otel_ml.tag.{name}"]
