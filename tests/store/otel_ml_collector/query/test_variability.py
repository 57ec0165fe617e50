"""Tests of variability: equal inputs, differing outputs, and the runs left out."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.filter.sql import compile_filter
from otel_ml_collector.span import Span, Value
from otel_ml_collector.store.variability import read_version_answers
from otel_ml_collector.versions.variability import ModelVariability, find_variability
from tests.store.otel_ml_collector.query.test_judges import listed, say, tell
from tests.store.otel_ml_collector.query.test_search import make_second
from tests.support.otel_ml_collector.logs import make_log, take
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS, make_call
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night, sampled

Pair = tuple[object, object]


def ask_often(
    store: Store, project: str, pairs: Sequence[Pair], version: str = "a", /, **more: Value
) -> list[Span]:
    """Store one run per pair of inputs and outputs, one second apart, in order."""
    runs = []
    for place, (inputs, outputs) in enumerate(pairs):
        told: dict[str, Value] = {"otel_ml.model.version": version}
        for name, value in (("otel_ml.inputs", inputs), ("otel_ml.outputs", outputs)):
            if value is not None:
                told[name] = value if isinstance(value, str) else json.dumps(value)
        start_ns = NOW_NS - (len(pairs) - place) * SECOND_NS
        runs.append(make_call(attributes={**told, **more}, start_ns=start_ns))
    store.take(project, *runs)
    return runs


def find(store: Store, project: str, **asked: int) -> ModelVariability:
    return find_variability(store.reader, project, "answer", **asked)


def test_figures(store: Store, project: str) -> None:
    """Repeated inputs count, with the agreement of their answers. Single inputs do not."""
    pairs: list[Pair] = [({"q": "a"}, "x"), ({"q": "a"}, "x"), ({"q": "a"}, "y")]
    ask_often(store, project, [*pairs, ({"q": "b"}, 1), ({"q": "b"}, 1), ({"q": "c"}, 2)])
    found = find(store, project)
    [one] = found.versions
    assert (one.version, one.runs, one.left_out, one.is_cut) == (1, 6, {}, False)
    assert (one.inputs, one.repeated) == (2, 5)
    assert one.differing
    assert one.agreement
    assert (one.differing.value, one.differing.n) == (0.5, 2)
    # Of three runs, one pair in three agrees. Of two runs, the only pair agrees.
    assert one.agreement.value == pytest.approx((1 / 3 + 1) / 2)
    assert (one.spreads, found.comparison, found.version) == ([], None, 1)


@at_night
def test_groups_open_their_runs(store: Store, project: str) -> None:
    """The input with the least agreement comes first. Each group's filter lists just its runs."""
    ask_often(store, project, [({"q": "b"}, "1")] * 3 + [({"q": "a"}, "y")])
    ask_often(store, project, [({"q": "a"}, "x")] * 2, more="no matter")
    first, second = find(store, project).groups
    assert (first.runs, first.different) == (3, 2)
    assert first.agreement == pytest.approx(1 / 3)
    assert [(one.outputs, one.runs) for one in first.answers] == [("x", 2), ("y", 1)]
    assert (second.runs, second.different, second.agreement) == (3, 1, 1.0)
    for group in (first, second):
        assert listed(store, project, group.where) == group.runs
        whole = f'inputs_digest == "{group.digest}"'
        assert listed(store, project, whole) == group.runs
        assert listed(store, project, f"not ({whole})") == 3


@sampled(1)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1, "b": {"x": [], "y": null}}', '{"b":{"y":null,"x":[]},"a":1}'),
        (
            '[{"role":"u","parts":[{"b":1,"a":"é"}]}]',
            '[{"parts":[{"a":"\\u00e9","b":1}],"role":"u"}]',
        ),
        ('{"a": 123456789012345678901234}', '{"a":123456789012345678901234}'),
    ],
)
def test_equal(store: Store, project: str, one: str, other: str) -> None:
    """The order of members, whitespace and escapes do not make values different."""
    ask_often(store, project, [(one, other), (other, one)])
    [version] = find(store, project).versions
    assert version.inputs == 1
    assert version.agreement
    assert version.agreement.value == 1.0


@sampled(1)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":"b"}', '{"b":"a"}'),
        ('{"a":["x","y"]}', '{"a":["y","x"]}'),
        ('{"a":1}', '{"a":"1"}'),
        ('{"a":null}', "{}"),
        ('"a b"', '"b a"'),
        ('{"a":{"b":1}}', '{"a.b":1}'),
        ("18446744073709551615", "18446744073709551614"),
    ],
)
def test_unequal(store: Store, project: str, one: str, other: str) -> None:
    """Any other difference makes values different, both as inputs and as outputs."""
    ask_often(store, project, [(one, 1), (other, 1), ({"q": 1}, one), ({"q": 1}, other)])
    [version] = find(store, project).versions
    assert (version.inputs, version.repeated) == (1, 2)
    assert version.agreement
    assert version.agreement.value == 0.0


@at_night
def test_left_out(store: Store, project: str) -> None:
    """Runs with missing, cut or hidden inputs or outputs are counted by reason."""
    array = {"type": "numpy.ndarray", "dtype": "float64", "shape": [900], "head": [1.0, 2.0]}
    small = {"type": "numpy.ndarray", "dtype": "float64", "shape": [2], "values": [1.0, 2.0]}
    ask_often(store, project, [({"x": small}, 1)] * 2)
    ask_often(store, project, [({"x": array}, 1)] * 2)
    ask_often(store, project, [({"q": 1}, array)])
    ask_often(store, project, [(None, 1), ({"q": 1}, None)])
    for part, why in (("inputs", "truncated"), ("outputs", "redacted"), ("inputs", "redacted")):
        cut = json.dumps({part: [why]})
        ask_often(store, project, [({"q": 1}, 1)], **{"otel_ml.capture": cut})
    [version] = find(store, project).versions
    assert version.left_out == {
        "with cut or hidden inputs": 2,
        "with shortened inputs": 2,
        "with cut or hidden outputs": 1,
        "with shortened outputs": 1,
        "without inputs": 1,
        "without outputs": 1,
    }
    assert (version.runs, version.inputs, version.repeated) == (10, 1, 2)
    assert listed(store, project, "inputs_digest") == 5


def test_runs_that_failed(store: Store, project: str) -> None:
    """A failed run has no answer, and is counted as left out for that reason."""
    ask_often(store, project, [({"q": 1}, 1)] * 2)
    failed = make_call(
        attributes={"otel_ml.model.version": "a", "otel_ml.inputs": '{"q":1}'}, status_code=2
    )
    store.take(project, failed)
    found = find(store, project)
    assert found.versions[0].left_out == {"without an answer": 1}
    assert [(one.runs, listed(store, project, one.where)) for one in found.groups] == [(2, 2)]


@at_night
def test_no_experiments(store: Store, project: str) -> None:
    """Runs of experiments are neither counted nor listed."""
    ask_often(store, project, [({"q": 1}, 1)] * 2)
    told: dict[str, Value] = {
        "otel_ml.experiment": f"{'1' * 32}-{'1' * 16}",
        "otel_ml.item.id": "one",
    }
    ask_often(store, project, [({"q": 1}, 2)] * 3, "a", **told)
    found = find(store, project)
    assert (found.versions[0].runs, found.groups[0].runs) == (2, 2)
    assert listed(store, project, found.groups[0].where) == 2


@at_night
def test_delivered_twice(store: Store, project: str) -> None:
    """A run delivered twice counts once."""
    runs = ask_often(store, project, [({"q": 1}, 1), ({"q": 1}, 2)])
    store.take(project, *runs)
    [version] = find(store, project).versions
    assert (version.runs, version.repeated) == (2, 2)


def test_spread_of_scores(store: Store, project: str) -> None:
    """The spread of scores for one input uses only the judge's newest version."""
    runs = ask_often(store, project, [({"q": 1}, 1)] * 2 + [({"q": 2}, 1)] * 2)
    store.take(project, tell("a1"))
    store.take(project, tell("b2"))
    scores = (0.25, 0.75, 0.5, 0.5)
    said = [say(run, "b2", score) for run, score in zip(runs, scores, strict=True)]
    store.take(project, *said, *(say(run, "a1", 0.0) for run in runs[:2]))
    [version] = find(store, project).versions
    [spread] = version.spreads
    assert (spread.name, spread.digest, spread.spread.n) == ("grounded:v2", "b2", 2)
    assert spread.spread.value == pytest.approx((0.5 + 0.0) / 2)


def test_versions(store: Store, project: str) -> None:
    """Two versions are compared on the inputs that both received several times."""
    for version, answers in (("a", ("x", "y")), ("b", ("x", "x"))):
        ask_often(
            store,
            project,
            [({"q": place}, answer) for place in range(30) for answer in answers],
            version,
        )
    found = find(store, project)
    change = found.comparison
    assert change
    assert (change.version, change.against, change.word, change.is_paired) == (
        2,
        1,
        "steadier",
        True,
    )
    assert (change.after.value, change.before.value, change.difference.n) == (1, 0, 30)
    turned = find(store, project, version=1, against=2).comparison
    assert turned
    assert turned.word == "less steady"


def test_records_of_one_call(store: Store, project: str) -> None:
    """Two records of a call count once."""
    for place in range(2):
        outer = make_call(
            "answer",
            {"otel_ml.model.version": "a", "otel_ml.inputs": '{"q":1}', "otel_ml.outputs": "1"},
            start_ns=NOW_NS + place * SECOND_NS,
        )
        store.take(project, outer, replace(outer))
    assert find(store, project).versions[0].repeated == 2


@at_night
def test_inputs_of_another_record(store: Store, project: str) -> None:
    """If another record of the call has the inputs, the runs are grouped by them."""
    used: dict[str, Value] = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 3}
    own: dict[str, Value] = {"otel_ml.model.version": "a", "otel_ml.outputs": '"1"'}
    message = json.dumps([{"role": "user", "content": "why"}])
    for place in range(3):
        start_ns = NOW_NS + place * SECOND_NS
        lacking = make_call(attributes={**used, **own}, start_ns=start_ns)
        other = make_second(lacking, {**used, "gen_ai.input.messages": message})
        store.take(project, lacking, other)
    found = find(store, project)
    [version], [group] = found.versions, found.groups
    assert (version.runs, version.left_out) == (3, {})
    assert (version.inputs, version.repeated, group.different) == (1, 3, 1)
    assert (group.inputs, [answer.outputs for answer in group.answers]) == ("why", ["1"])
    assert listed(store, project, group.where) == 3


@at_night
def test_inputs_of_log_records(store: Store, project: str) -> None:
    """Runs whose messages arrived as log records are grouped by their input, which is shown."""
    runs = ask_often(store, project, [(None, None)] * 2, **{"gen_ai.operation.name": "chat"})
    said = {
        name: json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])
        for name, role, text in (
            ("gen_ai.input.messages", "user", "why"),
            ("gen_ai.output.messages", "assistant", "because"),
        )
    }
    event = "gen_ai.client.inference.operation.details"
    take(store, project, *(make_log(None, said, of=run, event=event) for run in runs))
    [group] = find(store, project).groups
    assert (group.inputs, group.runs) == ("why", 2)
    assert [answer.outputs for answer in group.answers] == ["because"]


def test_newest_runs_alone(store: Store, project: str) -> None:
    """Only the newest runs of each version are read, up to the limit."""
    for version in ("a", "b"):
        ask_often(store, project, [({"q": 1}, "old")] * 3 + [({"q": 2}, 1)] * 2, version)
    answers = read_version_answers(store.reader, project, "answer", [1, 2], 3)
    for number in (1, 2):
        [group] = answers[number].repeated
        assert (answers[number].runs, len(group.runs), len(group.answers)) == (3, 2, 1)


@sampled(1)
@pytest.mark.parametrize("where", ['inputs_digest > "a"', 'inputs_digest["a"] == "b"'])
def test_no_order(where: str) -> None:
    """A digest has no order and no parts."""
    with pytest.raises(BadInput):
        compile_filter(where)


def test_unknown(store: Store, project: str) -> None:
    """An unknown model or version is not found."""
    with pytest.raises(Missing):
        find(store, project)
    ask_often(store, project, [({"q": 1}, 1)])
    with pytest.raises(Missing, match="has no version 9"):
        find(store, project, against=9)
