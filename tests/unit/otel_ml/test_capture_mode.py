"""The capture mode: whether inputs and outputs are recorded."""

import json

import pytest

from otel_ml import Judge
from otel_ml.functions import Capture
from tests.support.otel_ml.recording import Recording, attributes

MODES: dict[Capture, dict[str, object]] = {
    "all": {"otel_ml.inputs": '{"x":1}', "otel_ml.outputs": "2"},
    "inputs": {"otel_ml.inputs": '{"x":1}', "otel_ml.capture": '{"outputs":["off"]}'},
    "outputs": {"otel_ml.outputs": "2", "otel_ml.capture": '{"inputs":["off"]}'},
    "off": {"otel_ml.capture": '{"inputs":["off"],"outputs":["off"]}'},
}
PAYLOAD = {"otel_ml.inputs", "otel_ml.outputs", "otel_ml.capture"}


def payload(recording: Recording) -> dict[str, object]:
    found = attributes(recording.run())
    return {key: found[key] for key in PAYLOAD if key in found}


@pytest.mark.parametrize("mode", MODES)
def test_decorator_chooses(recording: Recording, mode: Capture) -> None:
    """The decorator's `capture` option chooses which payloads are recorded."""
    assert recording.client.trace(capture=mode)(lambda x: x + 1)(1) == 2
    assert payload(recording) == MODES[mode]


@pytest.mark.parametrize("mode", MODES)
def test_environment_chooses(
    recording: Recording, mode: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the decorator's option, OTEL_ML_CAPTURE chooses which payloads are recorded."""
    monkeypatch.setenv("OTEL_ML_CAPTURE", f" {mode.upper()} ")
    recording.client.trace(lambda x: x + 1)(1)
    assert payload(recording) == MODES[mode]


def test_decorator_comes_first(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decorator's option takes precedence over the environment."""
    monkeypatch.setenv("OTEL_ML_CAPTURE", "off")
    recording.client.trace(capture="all")(lambda x: x + 1)(1)
    assert payload(recording) == MODES["all"]


def test_wrong_variable_records_less(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a misspelled OTEL_ML_CAPTURE neither inputs nor outputs are recorded."""
    monkeypatch.setenv("OTEL_ML_CAPTURE", "of")
    recording.client.trace(lambda x: x + 1)(1)
    assert payload(recording) == MODES["off"]


def test_wrong_mode_is_refused(recording: Recording) -> None:
    """An unknown capture mode is refused when the function is decorated."""
    with pytest.raises(ValueError, match="Invalid capture 'none': expected one of"):
        recording.client.trace(capture="none")  # type: ignore[call-overload]  # that is the point


def test_judges_see_what_is_not_recorded(recording: Recording) -> None:
    """Judges receive payloads that are not recorded."""
    judge = Judge("sum", "", lambda x, outputs: x + outputs)
    recording.client.assess(judge, capture="off")(lambda x: x + 1)(1)
    found = attributes(recording.run())
    assert found["otel_ml.score.sum"] == 3
    assert json.loads(found["otel_ml.capture"]) == {"inputs": ["off"], "outputs": ["off"]}
