"""Weights of model objects that a function uses: when they are read, and which runs wait."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otel_ml import Client, Judge
from otel_ml.versions import weights
from otel_ml.versions.definition import define
from otel_ml.versions.state import WeightKind
from tests.support.otel_ml.recording import Recording, attributes, judged
from tests.support.otel_ml.written import imported
from tests.support.waiting import wait_until

CLASSIFIER = """
    import numpy
    from sklearn.linear_model import LogisticRegression, SGDClassifier

    X = numpy.arange(12.0).reshape(6, 2)
    CLF = LogisticRegression().fit(X, [0, 0, 0, 1, 1, 1])

    def model(a):
        return float(CLF.predict([[a, a]])[0])

    def again(labels):
        CLF.fit(X, labels)

    def load(labels):
        global CLF
        CLF = LogisticRegression().fit(X, labels)

    ONLINE = SGDClassifier()

    def learn(a):
        ONLINE.partial_fit(X, [0, 0, 0, 1, 1, 1], classes=[0, 1])
        return float(ONLINE.predict([[a, a]])[0])
"""


class Slow:
    """A model object whose weights are read only when the test allows it."""

    def __init__(self) -> None:
        self.weights = b"first"
        self.may_be_read = threading.Event()
        self.reads = 0


SLOW = Slow()


def ask_slow(a: int) -> int:
    return a + len(SLOW.weights)


def _feed(value: Slow, found: Any) -> None:
    value.reads += 1
    assert value.may_be_read.wait(30)
    found.update(value.weights)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """Yield a new slow object, whose class is registered as a weight kind during the test."""
    global SLOW  # noqa: PLW0603 - what the function names
    SLOW = Slow()
    kinds: Mapping[tuple[str, str], WeightKind] = {
        **weights.WEIGHT_KINDS,
        ("tests", "Slow"): WeightKind(lambda one: one.weights, _feed),
    }
    monkeypatch.setattr(weights, "WEIGHT_KINDS", kinds)
    yield SLOW
    SLOW.may_be_read.set()


def versions(recording: Recording) -> list[str | None]:
    return [attributes(run).get("otel_ml.model.version") for run in recording.runs()]


def numbered(found: list[Any]) -> list[int]:
    return [list(dict.fromkeys(found)).index(one) + 1 for one in found]


def test_refit_is_another_version(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A different fit of an estimator is a new version, and the same fit is the old version."""
    monkeypatch.setattr(weights, "_SHARE", 0)  # each call checks, however long a check takes
    with imported(tmp_path, {"shop.model": CLASSIFIER}, "shop.model") as module:
        model = recording.client.trace(module.model)
        for change in (module.again, module.load):
            for labels in ([0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]):
                change(labels)
                model(1)
                recording.client.flush()  # reads the weights before they change again
        model(2)
    assert numbered(versions(recording)) == [1, 2, 1, 1, 2, 1, 1]


def test_refit_is_another_version_of_a_call_described_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refit changes the version even if weights are not checked again during a call."""
    monkeypatch.setattr(weights, "_SHARE", 1)  # no further check within the time that one takes
    recording = Recording(join=False)
    with imported(tmp_path, {"shop.model": CLASSIFIER}, "shop.model") as module:
        model = recording.client.trace(module.model)
        for labels in ([0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]):
            module.again(labels)
            for _ in range(2):
                model(1)
                recording.client.flush()
    assert numbered(versions(recording)) == [1, 1, 2, 2]


def test_new_weights_in_the_place_of_old_ones(tmp_path: Path) -> None:
    """New weights at the address of the old ones are noticed."""
    with imported(tmp_path, {"shop.model": CLASSIFIER}, "shop.model") as module:
        array, saved = module.CLF.coef_, module.CLF.coef_.copy()
        kind = weights.kind_of(module.CLF)
        assert kind is not None
        before = kind.mark(module.CLF)
        array += 1
        assert kind.mark(module.CLF) != before
        array[:] = saved
        assert kind.mark(module.CLF) == before


def test_weights_are_shown(recording: Recording, tmp_path: Path) -> None:
    """A definition has the class of a model object and the digest of its weights."""
    with imported(tmp_path, {"shop.model": CLASSIFIER}, "shop.model") as module:
        recording.client.trace(module.model)(1)
    told = json.loads(attributes(recording.run())["otel_ml.model.definition"])
    shown = told["constants"]["CLF"]
    assert shown["type"] == "LogisticRegression"
    assert len(bytes.fromhex(shown["weights"])) == 8
    assert told["unseen"] == []


def test_function_that_fits_is_one_version(recording: Recording, tmp_path: Path) -> None:
    """A model that the function itself fits does not change the version and is listed as unseen."""
    with imported(tmp_path, {"shop.model": CLASSIFIER}, "shop.model") as module:
        learn = recording.client.trace(module.learn)
        for _ in range(3):
            learn(1)
        assert define(module.learn).unseen == ("weights of `ONLINE`, which the function fits",)
    assert numbered(versions(recording)) == [1, 1, 1]


def test_weights_do_not_stop_a_call(recording: Recording, slow: Slow) -> None:
    """Calls return while weights are read; their runs are sent later with the final version."""
    model = recording.client.trace(ask_slow)
    begun = time.monotonic()
    assert [model(n) for n in range(5)] == [5, 6, 7, 8, 9]
    assert time.monotonic() - begun < 5
    assert recording.exporter.get_finished_spans() == ()
    slow.may_be_read.set()
    found = versions(recording)
    assert numbered(found) == [1] * 5
    assert found[0] is not None
    assert slow.reads == 1
    assert [json.loads(attributes(run)["otel_ml.outputs"]) for run in recording.runs()] == [
        5,
        6,
        7,
        8,
        9,
    ]


def test_run_that_failed_waits_as_well(recording: Recording, slow: Slow) -> None:
    """A call that raised while weights are read has its version too."""
    model = recording.client.trace(ask_slow)
    with pytest.raises(TypeError):
        model("a")  # type: ignore[arg-type]
    slow.may_be_read.set()
    model(1)
    assert numbered(versions(recording)) == [1, 1]


def test_judged_run_waits_as_well(recording: Recording, slow: Slow) -> None:
    """A judged run waits for its version and keeps its scores."""
    judge = Judge("long", "", lambda outputs: outputs > 3)
    model = recording.client.assess(judge, inline=True)(ask_slow)
    model(1)
    slow.may_be_read.set()
    [run] = recording.runs()
    assert judged(run)["long"]["version"] == judge.version
    assert attributes(run)["otel_ml.score.long"] == 1
    assert attributes(run)["otel_ml.model.version"] == define(ask_slow).digest


def test_weights_that_change_while_they_are_read(recording: Recording, slow: Slow) -> None:
    """An object that changes while it is read is read again, and no call gets a wrong version."""
    model = recording.client.trace(ask_slow)
    model(1)
    wait_until(lambda: slow.reads)
    slow.weights = b"other"
    slow.may_be_read.set()
    before, after = define(ask_slow, skips=True).digest, define(ask_slow).digest
    assert versions(recording) == [before]
    assert slow.reads == 2
    model(2)
    assert versions(recording) == [before, after]


def test_weights_that_cannot_be_read(recording: Recording, slow: Slow) -> None:
    """If weights cannot be read, the run has a version, and the definition names the object."""
    slow.weights = "no bytes"  # type: ignore[assignment]
    slow.may_be_read.set()
    recording.client.trace(ask_slow)(1)
    assert versions(recording) != [None]
    told = json.loads(attributes(recording.run())["otel_ml.model.definition"])
    name = f"{Slow.__module__}.Slow"
    assert told["unseen"] == [f"`SLOW`, a `{name}`, which cannot be read (TypeError)"]


def test_closed_client_gives_its_runs(slow: Slow) -> None:
    """A run that still waits when the client closes is sent with the version of its code."""
    recording = Recording()
    recording.client.trace(ask_slow)(1)
    recording.client.close()
    [run] = recording.exporter.get_finished_spans()
    code = define(ask_slow, skips=True).digest
    assert attributes(run)["otel_ml.model.version"] == code


def test_many_bytes_are_read_behind_the_call(client: Client, tmp_path: Path) -> None:
    """An array of 100 MB does not make the first call slower than a small array."""
    text = "import numpy\nE = numpy.zeros({})\ndef model(a): return a\n    \n"
    text = text.replace("return a", "return a + float(E[0])")
    took: dict[int, float] = {}
    for size in (200_000, 12_500_000) * 3:
        with imported(tmp_path, {"shop.model": text.format(size)}, "shop.model") as module:
            model = client.trace(module.model)
            begun = time.thread_time()
            model(1)
            took_s = time.thread_time() - begun
            assert client.flush()
        took[size] = min(took_s, took.get(size, took_s))  # the machine can be busy once
    assert took[12_500_000] < took[200_000] + 0.05


@pytest.mark.parametrize("nested", [False, True])
def test_same_weights_have_the_same_digest(nested: bool) -> None:
    """Arrays with another memory layout and equal content have the same digest."""
    array = np.arange(6.0).reshape(2, 3)
    one: Any = {"a": [array]} if nested else array
    other: Any = {"a": [np.asfortranarray(array)]} if nested else np.asfortranarray(array)
    kind = weights.WEIGHT_KINDS["numpy", "ndarray"]
    marked = WeightKind(lambda value: 0, kind.feed)
    assert weights.read(one, marked) == weights.read(other, marked)
