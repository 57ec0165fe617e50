"""The tools that write: add_feedback scores runs, save_as_tests adds runs to data sets."""

import hashlib
import logging
from collections.abc import Mapping
from typing import Any, Final, Literal

import orjson

from otel_ml.items import digest_item
from otel_ml_collector import feedback
from otel_ml_collector.assistants.answers import Digest, DigestTable, Own, show
from otel_ml_collector.assistants.call import ToolCall, short_id
from otel_ml_collector.assistants.references import find_reference
from otel_ml_collector.assistants.writer import ToolWriter
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.evaluations import dataset_changes as changes
from otel_ml_collector.evaluations.datasets import (
    find_digest,
    find_newest,
    read_dataset_versions,
    read_manifests,
)
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.store.facts import read_evaluations
from otel_ml_collector.store.reader import Row

_SCORE_PARTS: Final = ("score", "passed", "label", "explanation")
_EXPECTED: Final[Mapping[str, Literal["nothing", "outputs", "actual"]]] = {
    "none": "nothing",
    "outputs": "outputs",
    "actual": "actual",
}

_logger = logging.getLogger(__name__)


def add_feedback(call: ToolCall) -> Digest:
    """Store an agent's feedback on runs. Repeating the call stores nothing new.

    A call is a repetition if it has the same ``request``, or without one, the same content.

    Raises:
        BadInput: There is no feedback, or an earlier call with the same ``request`` had other
            feedback on a run.
        Missing: A run does not exist.
    """
    run_ids = _find_runs(call)
    starts = feedback.find_starts(call.reader, call.project, run_ids)
    for run_id in run_ids:
        if run_id not in starts:
            raise Missing(f"runs: there is no {run_id!r} in the project")
    facts = {name: call.given[name] for name in _SCORE_PARTS if call.given[name] not in (None, "")}
    if not facts:
        text = "score: missing: expected a score, passed, a label or an explanation"
        raise BadInput(text, "score")
    judge = call.given["judge"]
    if not judge:
        raise BadInput("judge: '': expected a name such as triage", "judge")
    access = call.reader.access
    request = call.given["request"]
    # The ID comes from the key and its `request`, else from the content, so that a call that is
    # sent twice is stored once.
    words: list[Any] = [request] if request else ["", judge, facts]
    names = {
        run_id: orjson.dumps([access.key_id, run_id, *words], option=orjson.OPT_SORT_KEYS)
        for run_id in run_ids
    }
    wanted = [
        feedback.WantedEvaluation(
            id=f"agent {hashlib.sha256(name).hexdigest()}",
            run_id=run_id,
            judge=judge,
            source="agent",
            annotator=access.name[:256],
            **facts,
        )
        for run_id, name in names.items()
    ]
    made = feedback.make_feedback(call.reader, call.project, wanted, call.now_ns)
    ids = {run_id: value.record_id for run_id, value in zip(run_ids, made.stored, strict=True)}
    there = {
        row["owner"]: row
        for row in read_evaluations(call.reader, call.project, [*ids])
        if row["source"] == "agent" and row["record_id"] == ids[row["owner"]]
    }
    for run_id, row in there.items():
        known = {name: row[name] for name in _SCORE_PARTS if row[name] not in (None, "")}
        if row["judge"] != judge or known != facts:
            raise BadInput(
                f"request: {show(request[:80])!r} already stored another evaluation of "
                f"{short_id(run_id)}: use a new value of request for each evaluation",
                "request",
            )
    new = [evaluation for evaluation in wanted if evaluation.run_id not in there]
    if new:
        body = feedback.make_feedback(call.reader, call.project, new, call.now_ns).body
        _writer(call).store(call.project, body)
        _log(call, f"{len(new)} evaluations")
    return Digest(
        {
            "judge": Own(judge),
            "source": Own("agent"),
            "stored": len(new),
            "already_there": len(there),
        },
        DigestTable(
            ("run", "evaluation"), [[short_id(run_id), Own(ids[run_id])] for run_id in run_ids]
        ),
        url=call.page("runs", where=f"{quoted(judge)} in agent"),
    )


def save_as_tests(call: ToolCall) -> Digest:
    """Add runs as items to a new version of a data set. Items that it already has are kept.

    Raises:
        BadInput: None of the runs can become an item.
        Missing: A run does not exist.
    """
    name = call.given["dataset"]
    if not name:
        raise BadInput("dataset: '': expected a name such as qa", "dataset")
    wanted = changes.WantedRuns(
        run_ids=_find_runs(call), expected=_EXPECTED[call.given["expected"]]
    )
    items, left_out = changes.read_runs(call.reader, call.project, wanted, call.now_ns)

    def make() -> tuple[tuple[str, int], bytes]:
        """Return the new version's digest, the number of new items, and the request's body."""
        newest = _find_newest(call, name)
        known = _read_digests(call, newest)
        new: dict[str, changes.WantedItem] = {}
        for item in items:
            digest = digest_item(item.inputs, item.expected, item.tags)
            if digest not in known:
                new.setdefault(digest, item)
        if newest and not new:
            return (newest["digest"], 0), b""
        change = changes.WantedItems(items=[*new.values()])
        made, body = changes.make_change(call.reader, call.project, name, change, None)
        return (made, len(new)), body

    stored, added = _writer(call).change(call.project, name, make)
    if added:
        _log(call, f"{added} items")
    version = find_digest(call.reader, call.project, name, stored)
    return Digest(
        {
            "dataset": Own(f"{name}:v{version.version}"),
            "added": added,
            "already_there": len(items) - added,
            "not_saved": left_out or None,
            "items": version.items,
        },
        url=call.page("datasets", name),
    )


def _find_runs(call: ToolCall) -> list[str]:
    """Return the run IDs of the argument ``runs``, without duplicates.

    Raises:
        BadInput: A reference is not to a run.
        Missing: A run does not exist.
    """
    runs = []
    for text in call.given["runs"]:
        reference = find_reference(call.reader, call.project, text, "runs")
        if reference.kind != "run":
            raise BadInput(
                f"runs: {show(text[:80])!r} is a {reference.kind}: expected runs", "runs"
            )
        runs.append(reference.name)
    return [*dict.fromkeys(runs)]


def _find_newest(call: ToolCall, name: str) -> Row | None:
    """Return the newest whole version of a data set, if it has one."""
    versions = read_dataset_versions(call.reader, call.project, [name])
    return find_newest(call.reader, call.project, versions).get(name)


def _read_digests(call: ToolCall, version: Row | None) -> set[str]:
    """Return the digests of the items in a version of a data set."""
    manifests = read_manifests(call.reader, call.project, [version] if version else [])
    return {digest for items in manifests.values() for digest in items.values()}


def _writer(call: ToolCall) -> ToolWriter:
    """Return the writer of a call.

    Raises:
        BadInput: The collector does not allow tools that write.
    """
    if call.writer is None:
        text = (
            f"{call.tool}: this collector does not let assistants write: start it with "
            "otel-ml serve --mcp-writes"
        )
        raise BadInput(text, "tool")
    return call.writer


def _log(call: ToolCall, what: str) -> None:
    key = call.reader.access.key_id or "(none)"
    _logger.info("%s: key %s stored %s in project %s", call.tool, key, what, call.project)
