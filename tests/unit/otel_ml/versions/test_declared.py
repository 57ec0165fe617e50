"""The options of decorators for versions: `params` and `version_on`."""

import json
from collections.abc import Callable, Collection
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest

import otel_ml
from otel_ml import Client, Judge
from otel_ml.errors import trouble
from otel_ml.versions.definition import define
from otel_ml.versions.version_on import PARTS, Part
from tests.support.otel_ml.recording import Recording, attributes, told_judges
from tests.support.otel_ml.written import imported

MODEL: Final = """
LIMIT = 3

def shorten(text):
    return text[:LIMIT]

def model(text: str, mark="!"):
    return shorten(text) + mark
"""
# A change of the source that affects only this part.
CHANGES: Final[dict[Part, tuple[str, str]]] = {
    "source": ("+ mark", "+ mark + mark"),
    "signature": ('mark="!"', 'mark="?"'),
    "helpers": ("[:LIMIT]", "[LIMIT:]"),
    "constants": ("LIMIT = 3", "LIMIT = 4"),
}


def version(run: Any) -> str:
    return str(attributes(run)["otel_ml.model.version"])


def told(run: Any) -> Any:
    return json.loads(attributes(run)["otel_ml.model.definition"])


def test_params_are_asked_for_once(recording: Recording) -> None:
    """Params given as a function are read once, at the first call."""
    asked: list[int] = []

    def params() -> dict[str, object]:
        asked.append(1)
        return {"weights": f"digest {len(asked)}"}

    model = recording.client.trace(params=params, name="model")(lambda a: a)
    assert asked == []
    assert [model(1), model("b"), model([2])] == [1, "b", [2]]
    assert [attributes(run)["otel_ml.params"] for run in recording.runs()] == [
        '{"weights":"digest 1"}'
    ] * 3
    assert asked == [1]


def test_asked_params_are_those_that_are_given(recording: Recording) -> None:
    """Params give the same version whether given as values or by a function."""
    for params in ({"a": 1}, lambda: {"a": 1}, lambda: {"a": 2}):
        recording.client.trace(params=params, name="model")(abs)(1)
    first, second, third = map(version, recording.runs())
    assert first == second != third


@pytest.mark.parametrize(
    "params",
    [
        pytest.param(lambda: 1 / 0, id="raises"),
        pytest.param(lambda: 5, id="no mapping"),
        pytest.param(lambda missing: {}, id="wants an argument"),
    ],
)
def test_params_that_fail_are_left_out(
    recording: Recording, params: Callable[[], dict[str, object]]
) -> None:
    """If the params function fails, trouble is counted and the run has no params."""
    before = trouble().get("params", 0)
    assert recording.client.trace(params=params, name="model")(abs)(-1) == 1
    recording.client.trace(name="model")(abs)(-1)
    first, second = recording.runs()
    assert version(first) == version(second)
    assert "otel_ml.params" not in attributes(first)
    assert trouble()["params"] == before + 1


def version_of(directory: Path, source: str, version_on: Collection[Part]) -> str:
    with imported(directory, {"shop.model": source}, "shop.model") as module:
        return define(module.model, {}, frozenset(version_on)).digest


SUBSETS: Final = [
    frozenset(parts) for size in range(1, 7) for parts in combinations(sorted(PARTS), size)
]


@pytest.mark.parametrize("part", CHANGES)
def test_part_counts_where_it_is_named(tmp_path: Path, part: Part) -> None:
    """A change of a part changes the version only if that part is in `version_on`."""
    old, new = CHANGES[part]
    assert old in MODEL
    for version_on in SUBSETS:
        before = version_of(tmp_path, MODEL, version_on)
        after = version_of(tmp_path, MODEL.replace(old, new), version_on)
        # A constant that only a helper uses is only found through the helper.
        counts = part in version_on and (part != "constants" or "helpers" in version_on)
        assert (before != after) == counts, sorted(version_on)


def test_params_count_where_they_are_named() -> None:
    """Declared params change the version only if they are in `version_on`."""
    for version_on in SUBSETS:
        digests = {define(abs, {"a": value}, version_on).digest for value in (1, 2)}
        assert (len(digests) == 2) == ("params" in version_on)


def test_bound_arguments_are_constants() -> None:
    """Arguments bound by a partial count as constants."""
    for version_on in SUBSETS:
        digests = {define(partial(pow, value), {}, version_on).digest for value in (1, 2)}
        assert (len(digests) == 2) == ("constants" in version_on)


@pytest.mark.parametrize("part", ["source", "signature"])
def test_part_counts_without_source(part: Part) -> None:
    """For a function without source, signature and body still count separately."""
    texts = ["def model(a): return a", "def model(a, b): return a", "def model(a): return -a"]
    digests = []
    for text in texts:
        scope: dict[str, Any] = {}
        exec(text, scope)  # noqa: S102 - a function as a console makes it
        digests.append(define(scope["model"], {}, frozenset({part})).digest)
    assert digests[0] != digests[1]
    assert (digests[0] != digests[2]) == (part == "source")


@pytest.mark.parametrize("output", [True, False])
def test_output_counts_where_it_is_named(recording: Recording, output: bool) -> None:
    """Outputs of another structure change the version only if `version_on` has the output."""
    version_on: set[Part] = {"source", "output"} if output else {"source"}
    model = recording.client.trace(name="model", version_on=version_on)(lambda a: a)
    assert [model(1), model("b"), model([2])] == [1, "b", [2]]
    structures = [attributes(run).get("otel_ml.model.output_schema") for run in recording.runs()]
    assert len(set(structures)) == (3 if output else 1)
    assert (structures[0] is None) != output


def test_all_but_the_output_have_the_digest_of_all() -> None:
    """Leaving the output out of `version_on` does not change the definition's digest."""
    assert define(abs, {}, PARTS - {"output"}).digest == define(abs).digest


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"source", "sauce"}, "['sauce', 'source']"),
        ([], "[]"),
        ("source", "'source'"),
        ([1], "['1']"),
    ],
)
@pytest.mark.parametrize("decorator", ["trace", "assess", "default"])
def test_unknown_part_is_refused(client: Client, decorator: str, wrong: Any, said: str) -> None:
    """An unknown part in `version_on` is refused at decoration."""
    decorate: Any = {
        "trace": client.trace,
        "assess": lambda **told: client.assess(Judge("a", "", lambda output: 1.0), **told),
        "default": otel_ml.trace,
    }[decorator]
    with pytest.raises(ValueError, match="Invalid version_on") as caught:
        decorate(version_on=wrong)
    assert str(caught.value) == (
        f"Invalid version_on {said}: expected a collection of some of "
        "['constants', 'helpers', 'output', 'params', 'signature', 'source']"
    )


def rubric(outputs: str, limit: int = 3) -> bool:
    return len(outputs) > limit


def is_long(score: float) -> bool:
    return score > 1


def test_source_stays_where_it_is(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With OTEL_ML_CAPTURE_SOURCE=off the version is the same, without source or values."""
    with imported(tmp_path, {"shop.model": MODEL}, "shop.model") as module:
        for value in ("", "OFF "):
            monkeypatch.setenv("OTEL_ML_CAPTURE_SOURCE", value)
            recording.client.trace(name=f"model{value}", params={"a": 1})(module.model)("Hello")
    whole, kept = recording.runs()
    assert version(whole) == version(kept)
    assert told(whole)["constants"] == {"LIMIT": 3}
    assert told(kept) == {
        **told(whole),
        "source": None,
        "helpers": {},
        "constants": {},
    }
    assert told(kept)["signature"] == "(text: str, mark='!')"


def test_source_of_a_judge_stays_where_it_is(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With OTEL_ML_CAPTURE_SOURCE=off a judge has no source, criterion or description."""
    monkeypatch.setenv("OTEL_ML_CAPTURE_SOURCE", "off")
    judge = Judge("long", "a rubric in words", rubric, is_long)
    recording.client.assess(judge, name="model")(repr)("Hello")
    [(_, _, definition)] = told_judges(recording.spans())
    assert definition == {
        "type": "judge",
        "description": "",
        "criterion": None,
        "source": None,
        "signature": "(outputs: str, limit: int=3) -> bool",
        "params": {},
        "helpers": {},
        "constants": {},
        "unseen": [],
        "output": None,
    }


JUDGE: Final = """
LIMIT = 3

def length(text):
    return len(text)

def rubric(outputs):
    return length(outputs)

def criterion(score):
    return score > LIMIT
"""


@pytest.mark.parametrize(
    ("old", "new", "opens"),
    [
        pytest.param("return length(outputs)", "return -length(outputs)", True, id="rubric"),
        pytest.param("score > LIMIT", "score < LIMIT", True, id="criterion"),
        pytest.param("return len(text)", "return len(text) + 1", True, id="helper"),
        pytest.param("LIMIT = 3", "LIMIT = 4", True, id="constant of the criterion"),
        pytest.param("LIMIT = 3", "LIMIT = 3  # words", False, id="comment"),
        pytest.param("score > LIMIT", "(score >\n LIMIT)", False, id="layout"),
    ],
)
def test_judge_is_versioned_as_a_model_is(
    recording: Recording, tmp_path: Path, old: str, new: str, opens: bool
) -> None:
    """A judge's version changes with its rubric, its criterion and the functions they use."""
    assert old in JUDGE
    for source in (JUDGE, JUDGE.replace(old, new)):
        with imported(tmp_path, {"shop.judge": source}, "shop.judge") as module:
            judge = Judge("long", "", module.rubric, module.criterion)
            recording.client.assess(judge, name="model")(repr)("Hello")
    # In the records about judges: on a busy machine, a run is sent before its judge is done.
    versions = {version for _, version, _ in told_judges(recording.spans())}
    assert len(versions) == (2 if opens else 1)
