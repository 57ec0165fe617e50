"""Values logged as artifacts: when they are written, what is sent, and what is redacted."""

import base64
import dataclasses
import hashlib
import json
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image

from otel_ml import Client, current_run, types
from otel_ml.capture.values import LIMIT_BYTES
from otel_ml.errors import trouble
from tests.support.otel_ml.hostile import (
    Colour,
    Hostile,
    HostileClass,
    HostileDict,
    HostileNumber,
    HostileText,
    HostileType,
)
from tests.support.otel_ml.recording import Recording, attributes, events

ARTIFACT = "otel_ml.artifact"


@dataclasses.dataclass
class Login:
    user: str
    password: Any = None


class Titled(str):
    __slots__ = ()


def artifacts(recording: Recording) -> list[dict[str, Any]]:
    """Return the artifact events of runs and updates, without the prefix of attribute names."""
    return [
        {key.removeprefix(f"{ARTIFACT}."): item for key, item in said.items()}
        for span in recording.spans()
        for name, said in events(span)
        if name == ARTIFACT
    ]


def artifact(recording: Recording) -> dict[str, Any]:
    [found] = artifacts(recording)
    return found


def stored(said: dict[str, Any]) -> types.Data:
    """Read the value in an artifact event, from JSON or from a file."""
    content = said["json"].encode() if "json" in said else base64.b64decode(said["base64"])
    assert hashlib.sha256(content).hexdigest() == said["sha256"]
    return types.load(content, said["type"])


def log(recording: Recording, ref: str, value: object) -> dict[str, Any]:
    """Log one value in a new run and return its artifact event."""
    with recording.client.run("fit") as run:
        run.log(ref, value)
    return artifact(recording)


def notes(recording: Recording) -> Any:
    return json.loads(attributes(recording.run()).get("otel_ml.capture", "{}"))


def redacting(recording: Recording, **options: Any) -> Recording:
    recording.client.close()
    recording.client = Client("shop", exporter=recording.exporter, **options)
    return recording


def test_event_says_what_it_is(recording: Recording) -> None:
    """The event of a short value holds its document, hash, size, type and preview."""
    said = log(recording, "sample", [1, 2])
    document = "[1,2]"
    assert said == {
        "ref": "sample",
        "type": "otel_ml.types.Native",
        "bytes": len(document),
        "sha256": hashlib.sha256(document.encode()).hexdigest(),
        "json": document,
        "preview": '{"type":"otel_ml.types.Native","media_type":"application/json",'
        '"of":"list","length":2,"head":[1,2]}',
    }
    assert notes(recording) == {}


@pytest.mark.parametrize(
    "value",
    [
        {"a": (1, {2.5})},
        "text",
        b"bytes",
        np.arange(6, dtype=">f4").reshape(2, 3),
        pd.DataFrame({"a": [1, None]}),
        Image.new("RGB", (2, 2), "teal"),
    ],
)
def test_value_is_read_back(recording: Recording, value: Any) -> None:
    """A logged value is equal when it is read back."""
    found = stored(log(recording, "x", value)).data
    assert type(found).__name__ == type(value).__name__
    if isinstance(value, np.ndarray):
        assert (found.dtype, found.tolist()) == (value.dtype, value.tolist())
    elif isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(found, value)
    elif isinstance(value, Image.Image):
        assert found.tobytes() == value.tobytes()
    else:
        assert found == value


def test_later_change_does_not_matter(recording: Recording) -> None:
    """A value is written when it is logged, so a later change has no effect."""
    array = np.zeros(3)
    with recording.client.run("fit") as run:
        run.log("a", array)
        array[:] = 1
    assert stored(artifact(recording)).data.tolist() == [0.0, 0.0, 0.0]


def test_wrapper_is_taken_as_it_is(recording: Recording) -> None:
    """A value in a wrapper is written by that wrapper and keeps its options."""
    photo = types.Image(Image.new("RGB", (8, 8)), lossless=False)
    found = stored(log(recording, "photo", photo))
    assert isinstance(found, types.Image)
    assert found.lossless is False


def test_reference_twice_keeps_both(recording: Recording) -> None:
    """Two values logged under one reference are both sent, in order with the log lines."""
    with recording.client.run("fit") as run:
        run.log("a", 1)
        run.info("between")
        run.log("a", 2)
    [first, line, second] = events(recording.run())
    assert line[1]["otel_ml.log.message"] == "between"
    values = [json.loads(str(said[f"{ARTIFACT}.json"])) for _, said in (first, second)]
    assert values == [1, 2]


def test_short_call_carries_its_data(recording: Recording) -> None:
    """Data logged in a traced call is on the span of the call, without an update record."""

    @recording.client.trace
    def model() -> None:
        current_run().log("a", 1)

    model()
    assert recording.records("update") == []
    assert artifact(recording)["ref"] == "a"


def test_data_of_runs_elsewhere(recording: Recording) -> None:
    """Data can be logged to a run by the run's id."""
    run_id = "1" * 32 + "-" + "2" * 16
    recording.client.about(run_id=run_id).log("a", 1)
    [update] = recording.records("update")
    assert attributes(update)["otel_ml.target.run"] == run_id
    assert artifact(recording)["ref"] == "a"


def test_many_documents_fill_records(recording: Recording) -> None:
    """Many large documents are spread over several records of at most 1 MiB."""
    text = "x" * (LIMIT_BYTES - 1_000)
    with recording.client.run("fit") as run:
        for _ in range(40):
            run.log("a", text)
    sizes = [
        sum(len(said[f"{ARTIFACT}.base64"]) for _, said in events(span))
        for span in recording.spans()
    ]
    assert len(artifacts(recording)) == 40
    assert max(sizes) <= 1024 * 1024


@pytest.mark.parametrize("make", [str, lambda: "x" * 257, lambda: None, int, bytes, Hostile])
def test_wrong_reference_is_refused(recording: Recording, make: Callable[[], Any]) -> None:
    """A reference that is not text of 1 to 256 characters raises, and nothing is logged."""
    with recording.client.run("fit") as run, pytest.raises(ValueError, match="Invalid ref "):
        run.log(make(), 1)
    assert artifacts(recording) == []


@pytest.mark.parametrize(
    "make",
    [
        Hostile,
        HostileClass,
        HostileType,
        lambda: HostileText("x"),
        lambda: HostileNumber(1),
        lambda: HostileDict(a=1),
        lambda: [Hostile()],
        lambda: {Hostile(): Hostile()},
        lambda: float("nan"),
        lambda: "\ud800",
    ],
)
def test_hostile_values_are_logged(recording: Recording, make: Callable[[], object]) -> None:
    """Logging a hostile value does not raise and sends a document."""
    before = trouble()
    said = log(recording, "x", make())
    assert stored(said).type_name == said["type"]
    assert trouble() == before


class Broken(types.Data):
    """A wrapper whose `to_jcr` raises."""

    def to_jcr(self) -> dict[str, Any]:
        raise RuntimeError("broken")

    @classmethod
    def from_jcr(cls, params: Any) -> "Broken":
        return cls(params)


def test_broken_wrapper_leaves_its_type(recording: Recording) -> None:
    """If a wrapper fails, only its type is sent, and the run notes that the value is missing."""
    said = log(recording, "x", Broken(1))
    assert said == {
        "ref": "x",
        "type": f"{__name__}.Broken",
        "preview": json.dumps({"type": f"{__name__}.Broken"}, separators=(",", ":")),
    }
    assert notes(recording) == {"artifacts": ["unserialisable"]}


def test_too_large_value_leaves_its_shape(recording: Recording) -> None:
    """For a value over 64 MiB only its type and a preview with its shape are sent."""
    said = log(recording, "x", np.zeros((9, 1024, 1024)))
    assert sorted(said) == ["preview", "ref", "type"]
    assert json.loads(said["preview"])["shape"] == [9, 1024, 1024]
    assert notes(recording) == {"artifacts": ["truncated"]}


def test_document_that_nobody_takes(recording: Recording) -> None:
    """With a user's exporter, a long document is not sent, and the run notes that."""
    said = log(recording, "x", "y" * (LIMIT_BYTES + 1))
    assert sorted(said) == ["bytes", "preview", "ref", "sha256", "type"]
    assert notes(recording) == {"artifacts": ["artifact"]}


# Values that cannot be read back in full.


@pytest.mark.parametrize(
    ("make", "facts"),
    [
        (lambda: Login("a"), {"of": f"{__name__}.Login", "kept": "its fields"}),
        (
            lambda: Colour.RED,
            {"of": "tests.support.otel_ml.hostile.Colour.RED", "kept": "its value", "head": "red"},
        ),
        (Hostile, {"of": "tests.support.otel_ml.hostile.Hostile", "kept": "its text only"}),
        (lambda: [Hostile()], {"of": "list", "kept": "an object within it as text only"}),
        (lambda: {1: Hostile, 2: int}, {"kept": "2 objects within it as text only"}),
        (lambda: pl.DataFrame({"a": [object()]}), {"kept": "its text only"}),
    ],
)
def test_what_is_kept_is_said(
    recording: Recording, make: Callable[[], object], facts: dict[str, object]
) -> None:
    """The preview of a value that is read back only in part shows which part is kept."""
    said = json.loads(log(recording, "x", make())["preview"])
    assert said["type"] == "otel_ml.types.Native"
    assert facts.items() <= said.items()


def test_value_that_is_whole_says_nothing(recording: Recording) -> None:
    """The preview of a value that is read back in full has no `kept` field."""
    assert "kept" not in json.loads(log(recording, "x", deque([1]))["preview"])


def test_texts_of_any_length_are_no_trouble(recording: Recording) -> None:
    """An array of numpy's variable-length strings is recorded without an error."""
    array = np.array(["long " * 20] * 100, np.dtypes.StringDType())
    before = trouble()
    with recording.client.run("fit") as run:
        run.log("a", [array, array])
        run.log("b", array)
        run.set_output({"a": array})
    assert trouble() == before
    assert (
        json.loads(attributes(recording.run())["otel_ml.outputs"])["a"]["head"]
        == ["long " * 20] * 8
    )


def test_size_of_fields_counts(recording: Recording) -> None:
    """For an object whose fields exceed the limit only its type and a preview are sent."""
    said = log(recording, "x", Login("a", np.zeros((9, 1024, 1024))))
    assert sorted(said) == ["preview", "ref", "type"]
    assert notes(recording) == {"artifacts": ["truncated"]}


# Redaction.


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"password": "hunter2", "a": 1}, {"password": "[redacted]", "a": 1}),
        ({1: {"api_key": "hunter2"}}, {1: {"api_key": "[redacted]"}}),
        ({"password": "hunter2", 1: 2}, {"password": "[redacted]", 1: 2}),
        ([("a", {"token": "hunter2"})], [("a", {"token": "[redacted]"})]),
        ("password=hunter2, b=2", "password=[redacted], b=2"),
        (Login("a", "hunter2"), {"user": "a", "password": "[redacted]"}),
        (OrderedDict(password="hunter2"), {"password": "[redacted]"}),
        (deque([{"password": "hunter2"}]), deque([{"password": "[redacted]"}])),
    ],
)
def test_secret_keys_are_hidden(recording: Recording, value: object, shown: object) -> None:
    """Values under secret keys are in neither the document nor the preview."""
    said = log(recording, "x", value)
    assert stored(said).data == shown
    assert "hunter2" not in json.dumps(said)
    assert notes(recording) == {"artifacts": ["redacted"]}


@pytest.mark.parametrize("value", ["text", b"123", np.zeros(3), pd.Series([1])])
def test_secret_reference_hides_all(recording: Recording, value: object) -> None:
    """For a value logged under a secret name only its type is sent."""
    said = log(recording, "api_key", value)
    assert said == {"ref": "api_key", "type": types.wrap(value).type_name}
    assert notes(recording) == {"artifacts": ["redacted"]}


def test_secret_columns_are_left_out(recording: Recording) -> None:
    """Table columns with secret names are in neither the document nor the preview."""
    said = log(recording, "users", pd.DataFrame({"name": ["a"], "password": ["hunter2"]}))
    assert stored(said).data.columns.tolist() == ["name"]
    assert "hunter2" not in json.dumps(said)
    assert notes(recording) == {"artifacts": ["redacted"]}


@pytest.mark.parametrize("is_within", [False, True])
@pytest.mark.parametrize("make", [pl.DataFrame, pa.table])
def test_secret_columns_of_other_packages(
    recording: Recording, make: Callable[[Any], Any], is_within: bool
) -> None:
    """Secret columns, and secret keys inside columns, of polars and pyarrow are redacted."""
    table = make({"n": [1], "password": ["hunter2"], "in": [{"api_key": "hunter2", "b": 2}]})
    said = log(recording, "users", {"table": table} if is_within else table)
    found = stored(said).data
    rows = pl.DataFrame(found["table"] if is_within else found).rows()
    assert rows == [(1, {"api_key": "[redacted]", "b": 2})]
    assert "hunter2" not in json.dumps(said)
    assert notes(recording) == {"artifacts": ["redacted"]}


@pytest.mark.parametrize(
    "make",
    [
        lambda: pl.DataFrame({"a": [["555-1234"]]}),
        lambda: pl.Series(["555-1234"], dtype=pl.Categorical),
        lambda: pa.array(["555-1234"]),
        lambda: pa.chunked_array([pa.array([{"a": "555-1234"}])]),
        lambda: pa.record_batch({"a": pa.array(["555-1234"]).dictionary_encode()}),
    ],
)
def test_function_hides_texts_in_columns(recording: Recording, make: Callable[[], Any]) -> None:
    """The user's function redacts texts in polars and pyarrow columns, and types are unchanged."""
    redacting(recording, redact=lambda text: text.replace("555-1234", "phone"))
    value = make()
    said = log(recording, "a", value)
    found = stored(said).data
    assert type(found) is type(value)
    assert "phone" in str(found)
    assert "555-1234" not in str(found) + json.dumps(said)


def test_attributes_of_a_table_are_hidden(recording: Recording) -> None:
    """Values under secret names in a table's attributes are redacted."""
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"source": {"password": "hunter2", "host": "db"}}
    said = log(recording, "a", frame)
    hidden = {"source": {"password": "[redacted]", "host": "db"}}
    assert stored(said).data.attrs == hidden
    assert "hunter2" not in json.dumps(said)


def test_secret_series_is_left_out(recording: Recording) -> None:
    """For a series with a secret name only its type is sent."""
    said = log(recording, "users", pd.Series(["hunter2"], name="password"))
    assert sorted(said) == ["ref", "type"]


@pytest.mark.parametrize(
    "value",
    [
        "call 555-1234",
        ["call 555-1234"],
        {"555-1234": ("555-1234", {"555-1234"})},
        np.array(["555-1234"], dtype=object),
        pd.DataFrame({"phone": ["555-1234"]}),
        {"frame": pd.DataFrame({"phone": ["555-1234"]})},
        Login("555-1234", None),
        deque(["555-1234"]),
        Titled("555-1234"),
        "\ud800 555-1234",
    ],
)
def test_function_hides_texts(recording: Recording, value: object) -> None:
    """The user's function redacts all texts in the document, the preview and the reference."""
    redacting(recording, redact=lambda text: text.replace("555-1234", "phone"))
    said = log(recording, "555-1234", value)
    assert "555-1234" not in json.dumps(said)
    assert "phone" in json.dumps(stored(said).to_jcr())
    assert said["ref"] == "phone"


def test_function_leaves_what_is_no_text(recording: Recording) -> None:
    """A redact function that replaces every text leaves arrays of numbers readable."""
    redacting(recording, redact=lambda _text: "x")
    said = log(recording, "a", np.arange(3))
    assert stored(said).data.tolist() == [0, 1, 2]
