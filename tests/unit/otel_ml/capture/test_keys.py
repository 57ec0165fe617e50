"""Keys of dicts: those that become the same text are all recorded."""

import datetime
import enum
import json
import types
from collections import OrderedDict, UserDict
from typing import Any

import pytest

from otel_ml.capture.values import encode
from otel_ml.redaction import Redaction
from tests.support.otel_ml.recording import Recording, attributes, inputs, outputs

UTC = "2026-01-02T00:00:00+00:00"


class Kind(enum.Enum):
    NAME = "name"


DICTS: dict[str, tuple[Any, dict[str, str]]] = {
    "number": ({1: "a", "1": "b"}, {"1": "a", "1 (str)": "b"}),
    "text first": ({"1": "a", 1: "b"}, {"1": "a", "1 (int)": "b"}),
    "bool": ({True: "a", "true": "b", "True": "c"}, {"true": "a", "true (str)": "b", "True": "c"}),
    "none": (
        {"null": "a", None: "b", "None": "c"},
        {"null": "a", "null (NoneType)": "b", "None": "c"},
    ),
    "float": ({1.0: "a", "1.0": "b"}, {"1.0": "a", "1.0 (str)": "b"}),
    "nan": (
        {float("nan"): "a", "nan": "b", None: "c"},
        {"nan": "a", "nan (str)": "b", "null": "c"},
    ),
    "enum": ({Kind.NAME: "a", "name": "b"}, {"name": "a", "name (str)": "b"}),
    "bytes": ({b"k": "a", "b'k'": "b", b"l": "c"}, {"b'k'": "a", "b'k' (str)": "b", "b'l'": "c"}),
    "tuple": ({(1, 2): "a", "(1, 2)": "b"}, {"(1, 2)": "a", "(1, 2) (str)": "b"}),
    "datetime": (
        {datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc): "a", UTC: "b"},
        {UTC: "a", f"{UTC} (str)": "b"},
    ),
    "three": (
        {1: "a", "1": "b", "1 (str)": "c"},
        {"1": "a", "1 (str)": "b", "1 (str) (str)": "c"},
    ),
    "suffix first": (  # numbered by its place
        {"1 (str)": "a", 1: "b", "1": "c"},
        {"1 (str)": "a", "1": "b", "1 (str) 3": "c"},
    ),
    "surrogates": ({"\ud800": "a", "?": "b"}, {"?": "a", "? (str)": "b"}),
    "ordered": (OrderedDict({1: "a", "1": "b"}), {"1": "a", "1 (str)": "b"}),
    "user dict": (UserDict({1: "a", "1": "b"}), {"1": "a", "1 (str)": "b"}),
    "proxy": (types.MappingProxyType({1: "a", "1": "b"}), {"1": "a", "1 (str)": "b"}),
}  # fmt: skip


@pytest.mark.parametrize(("given", "recorded"), DICTS.values(), ids=DICTS)
def test_keys_that_become_one(given: Any, recorded: dict[str, str]) -> None:
    """Of two keys that become the same text, the later one gets its type as a suffix."""
    recording = Recording()

    @recording.client.trace(params={"p": given})
    def give(plain: Any, nested: Any) -> Any:
        return [given]

    give(given, {"deep": [{"a": given}]})

    run = recording.run()
    assert inputs(run) == {"plain": recorded, "nested": {"deep": [{"a": recorded}]}}
    assert list(inputs(run)["plain"]) == list(recorded)
    assert outputs(run) == [recorded]
    assert json.loads(attributes(run)["otel_ml.params"]) == {"p": recorded}
    assert json.loads(attributes(run)["otel_ml.capture"]) == {
        "inputs": ["renamed_keys"],
        "outputs": ["renamed_keys"],
    }


@pytest.mark.parametrize(
    "given",
    [{0: "a", 1: "b"}, {"1": "a", 2: "b"}, [{0: {"a": {1: 2}}}], {1.5: 2}],
    ids=["integers", "mixed", "nested", "floats"],
)
def test_keys_that_differ(given: Any) -> None:
    """Keys whose texts differ are recorded as these texts, without a note."""
    assert encode(given) == (json.dumps(given, separators=(",", ":")), frozenset())


@pytest.mark.parametrize("size", [5_000, 100_000])
def test_long_dict(size: int) -> None:
    """A dict that is cut keeps both keys that become one, and its text stays valid."""
    given: dict[Any, Any] = {1: "a", "1": "b", **{f"key {n}": "text" for n in range(size)}}
    text, notes = encode(given)
    assert notes == {"renamed_keys", "truncated"}
    assert list(json.loads(text).items())[:2] == [("1", "a"), ("1 (str)", "b")]


def test_keys_that_redact_makes_one() -> None:
    """Keys for which the user's function returns the same text are all recorded."""
    redaction = Redaction(lambda text: "[address]" if "@" in text else text)
    encoded = redaction.encode({"a@b.c": 1, "d@e.f": 2})
    assert json.loads(encoded.text) == {"[address]": 1, "[address] (str)": 2}
    assert encoded.notes == {"redacted", "renamed_keys"}
