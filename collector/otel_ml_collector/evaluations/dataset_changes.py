"""New versions of data sets, from items that a user sends or from recorded runs."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from otel_ml import attributes as names
from otel_ml.counts import write_count
from otel_ml.items import (
    ID_CHARS,
    ID_WANTED,
    MANIFEST,
    REASON_CHARS,
    digest_item,
    digest_version,
    is_item_id,
    name_items,
    write_version,
)
from otel_ml.records import ACTUAL_NAME, DatasetVersion, TagValue
from otel_ml_collector import feedback
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import BadInput, Outdated
from otel_ml_collector.evaluations.datasets import (
    find_newest,
    read_dataset_versions,
    read_manifests,
)
from otel_ml_collector.filter.grammar import FieldComparison, comparisons_of, parse
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.store.reader import Reader, load_json
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import from_rfc3339
from otel_ml_collector.windows import read_zone

MOST_ITEMS: Final = 10_000
_MOST_NEW: Final = 1_000
_MOST_RUNS: Final = 100

_KNOWN_ITEMS: Final = Sql("""
    SELECT digest, max(source_session != '') AS has_session FROM items
    WHERE project = {project:String} AND digest IN {digests:Array(String)}
    GROUP BY digest""")


_OTHER_TRUTH: Final = "without this ground truth"
_NO_OUTPUT: Final = "without a whole output"
_NAMED_TRUTHS: Final = 8  # in an error message

Reason = Annotated[
    str, Field(max_length=REASON_CHARS, description="Note that is stored with the version")
]


def _check_id(value: object) -> str:
    if value != "" and not is_item_id(value):
        raise ValueError(f"expected {ID_WANTED}")
    return str(value)


class WantedItem(AnswerBody):
    """An item for the new version. It replaces an item with the same id."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, PlainValidator(_check_id), Field(max_length=ID_CHARS)] = Field(
        default="",
        description="ID of the item, on one line. Default: the start of the digest of its inputs",
    )
    inputs: Any = Field(description="Inputs by name, or a single value")
    expected: Any = Field(default=None, description="Expected output; null if there is none")
    tags: dict[Annotated[str, Field(min_length=1, max_length=256)], TagValue] = Field(
        default_factory=dict
    )
    source_run: Annotated[str, Field(pattern=r"^([0-9a-f]{32}-[0-9a-f]{16})?$")] = Field(
        default="", description="ID of the run that the item was made from"
    )
    source_session: str = Field(
        default="",
        description="Session of that run. Verdicts treat all items of a session as one cluster",
    )


class WantedItems(BaseModel):
    """The changes of a new data set version to the previous one."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[WantedItem], Field(max_length=_MOST_NEW)] = Field(
        default_factory=list, description="Items to add or to replace"
    )
    remove: Annotated[list[str], Field(max_length=MOST_ITEMS)] = Field(
        default_factory=list, description="IDs of the items to remove"
    )
    description: Annotated[str, Field(max_length=10_000)] | None = Field(
        default=None, description="Description of the data set. Default: unchanged"
    )
    reason: Reason = ""


class WantedRuns(BaseModel):
    """Recorded runs to add as items of the new version."""

    model_config = ConfigDict(extra="forbid")

    run_ids: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=_MOST_RUNS)] = (
        Field(default_factory=list, description="IDs of the runs; empty to use the filter")
    )
    where: Annotated[str, Field(max_length=4_000)] = Field(
        default="", description="Filter of the runs. The newest 100 runs that match are used"
    )
    start: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Only runs that started at this time or later, RFC 3339"
    )
    end: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Only runs that started before this time"
    )
    tz: Annotated[str, Field(max_length=64)] | None = Field(
        default=None,
        description="The time zone of days and of times without an offset, such as "
        "`Europe/Berlin`; default UTC",
    )
    roots: bool = Field(
        default=False, description="Only requests: runs that are not inside another run"
    )
    traces: bool = Field(default=False, description="Only the top run of each trace")
    expected: Literal["nothing", "outputs", "actual", "given"] = Field(
        default="nothing",
        description="What to store as the expected output, such as the recorded output or the "
        "ground truth. `actual` uses the ground truth that the filter names. If it names none, "
        "the ground truth of the output is used, else the only one",
    )
    given: Any = Field(default=None, description="The expected output, if `expected` is `given`")
    reason: Reason = ""


class SavedRuns(AnswerBody):
    """The outcome of saving runs as items."""

    version: DatasetVersion
    items: int = Field(description="Number of runs that became items")
    left_out: dict[str, int] = Field(
        description="Number of runs that did not become items, by reason"
    )


def read_runs(
    reader: Reader, project: str, wanted: WantedRuns, now_ns: int
) -> tuple[list[WantedItem], dict[str, int]]:
    """Make items of recorded runs, and count by reason those that cannot be items."""
    if wanted.run_ids:
        whole_runs = [
            runs.find_run(reader, item, project, now_ns=now_ns) for item in wanted.run_ids
        ]
    else:
        zone = read_zone(wanted.tz) if wanted.tz else reader.zone
        reader = reader.in_zone(zone)
        query = runs.RunsQuery(
            project,
            wanted.where,
            limit=_MOST_RUNS,
            start_ns=from_rfc3339(wanted.start, "start", zone) if wanted.start else 0,
            end_ns=from_rfc3339(wanted.end, "end", zone) if wanted.end else None,
            roots=wanted.roots,
            traces=wanted.traces,
        )
        listed = runs.find_runs(reader, query, now_ns).runs
        whole_runs = [*runs.find_whole_runs(reader, listed, now_ns)]
    items, left_out = [], Counter[str]()
    truth = _choose_truth(wanted.where, whole_runs) if wanted.expected == "actual" else ""
    for run in whole_runs:
        item = _item_of(run, wanted, truth)
        if isinstance(item, str):
            left_out[item] += 1
        else:
            items.append(item)
    if not items:
        known = sorted({name for run in whole_runs for name in run.truth})
        if known and set(left_out) == {_OTHER_TRUTH}:
            named = ", ".join(f'"{name}"' for name in known[:_NAMED_TRUTHS])
            raise BadInput(
                f"None of the {write_count(len(whole_runs), 'run')} has ground truth named "
                f'"{truth or ACTUAL_NAME}"; they have {named}',
                "expected",
            )
        reasons = ", ".join(f"{count} {why}" for why, count in left_out.items()) or "none matches"
        if _NO_OUTPUT in left_out:
            reasons += ". Save the inputs alone: expect nothing"
        raise BadInput(f"None of these runs can be added as an item: {reasons}", "run_ids")
    return items, dict(left_out)


def _choose_truth(where: str, whole_runs: Iterable[Run]) -> str:
    """Choose the ground truth that becomes the expected output for all of these runs.

    It is the one that the filter names, else the one for the whole output, else the only one. Empty
    if there is none of these.
    """
    recorded = {name for run in whole_runs for name in run.truth}
    comparisons = comparisons_of(parse(where))
    for truths in (
        {name for name in map(_name_truth, comparisons) if name in recorded},
        {ACTUAL_NAME} & recorded,
        recorded,
    ):
        if len(truths) == 1:
            return truths.pop()
    return ""


def _name_truth(comparison: FieldComparison) -> str:
    """Return the ground truth that a comparison is about; empty if it is about none.

    Both ``truth["department"] == "billing"`` and ``"department" in truth`` are about one.
    """
    if comparison.field.name != "truth":
        return ""
    if comparison.field.path:
        return str(comparison.field.path[0])
    is_name = comparison.operator == "contains" and isinstance(comparison.value, str)
    return str(comparison.value) if is_name else ""


def _item_of(run: Run, wanted: WantedRuns, truth: str) -> WantedItem | str:
    """Make an item from a run, or return why that is impossible."""
    if run.inputs is None:
        return "without inputs"
    if run.capture.get("inputs"):
        return f"with inputs {' and '.join(run.capture['inputs']).replace('_', ' ')}"
    right = wanted.given if wanted.expected == "given" else None
    if wanted.expected == "outputs":
        if run.outcome != "ok" or run.capture.get("outputs"):
            return _NO_OUTPUT
        right = run.outputs
    elif wanted.expected == "actual":
        if truth not in run.truth:
            return _OTHER_TRUTH if run.truth else "without ground truth"
        right = run.truth[truth]
    tags = {name: value for name, value in run.tags.items() if not isinstance(value, dict | list)}
    return WantedItem(
        inputs=run.inputs,
        expected=right,
        tags=tags,
        source_run=run.run_id,
        source_session=run.session,
    )


def make_change(
    reader: Reader, project: str, name: str, wanted: WantedItems, base: str | None
) -> tuple[str, bytes]:
    """Apply changes to the newest complete version of a data set, and write the new version.

    This function stores nothing. To store the new version, send the request that it returns.

    Args:
        reader: The store.
        project: The project.
        name: Name of the data set.
        wanted: The items to add, replace or remove.
        base: Number of the version that the caller wants to change, such as ``v3``; None or ``*``
            for the newest complete version, whatever its number is.

    Returns:
        The digest of the new version, and an OTLP request in JSON with its records.

    Raises:
        BadInput: Two different items have the same ID, or an item to remove does not exist.
        Missing: The caller may not read the project.
        Outdated: `base` is not the newest complete version.
    """
    rows = read_dataset_versions(reader, project, [name])
    newest = find_newest(reader, project, rows).get(name)
    if base is not None and base != "*":
        number = newest["number"] if newest else 0
        if base.strip('"').removeprefix("v") != str(number):
            raise Outdated(f"The newest version of {name[:80]!r} is {number}, not {base[:20]}")
    digests: dict[str, str] = {}
    change: dict[str, Any] = {}
    if newest is not None:
        digests = read_manifests(reader, project, [newest])[newest["digest"]]
        change = load_json(newest["definition"], {})
    for place, gone in enumerate(wanted.remove):
        if digests.pop(gone, None) is None:
            raise BadInput(f"There is no item {gone[:80]!r}", f"remove.{place}")
    added = [digest_item(item.inputs, item.expected, item.tags) for item in wanted.items]
    ids = name_items(
        [(item.id, item.inputs, own) for item, own in zip(wanted.items, added, strict=True)]
    )
    for place, (item_id, digest) in enumerate(zip(ids, added, strict=True)):
        if item_id in ids[:place] and digests[item_id] != digest:
            raise BadInput(
                f"Two different items have the ID {item_id[:80]!r}: {digests[item_id][:16]} and "
                f"{digest[:16]}",
                f"items.{place}.id",
            )
        digests[item_id] = digest
    description = (
        change.get("description", "") if wanted.description is None else wanted.description
    )
    known: dict[str, bool] = {}
    if added:
        values = {"project": project, "digests": sorted(set(added))}
        known = {row["digest"]: row["has_session"] for row in reader.rows(_KNOWN_ITEMS, values)}
    now_ns = time.time_ns()
    spans = [
        _span_of_item(project, item, digest, now_ns)
        for item, digest in zip(wanted.items, added, strict=True)
        if digest not in known or (item.source_session and not known[digest])
    ]
    version = digest_version(digests)
    is_new = all(row["digest"] != version for row in rows)  # an existing version keeps its reason
    reason = wanted.reason if is_new else ""
    about, records = write_version(name, digests, description, reason)
    about |= {names.RECORD: "update", names.PROJECT: project}
    spans += [_span_of_version(about, parts, now_ns) for parts in records]
    return version, orjson.dumps(feedback.make_request(spans))


def _span_of_item(project: str, item: WantedItem, digest: str, now_ns: int) -> dict[str, Any]:
    facts: dict[str, object] = {
        names.RECORD: "item",
        names.PROJECT: project,
        names.ITEM_DIGEST: digest,
        names.INPUTS: orjson.dumps(item.inputs).decode(),
        names.ITEM_EXPECTED: orjson.dumps(item.expected).decode(),
        names.ITEM_SOURCE_RUN: item.source_run or None,
        names.ITEM_SOURCE_SESSION: item.source_session or None,
        **{f"{names.TAG_PREFIX}{name}": value for name, value in item.tags.items()},
    }
    identity = feedback.identify(project, f"item {digest}")
    return feedback.make_span("otel_ml.item", identity, now_ns, facts)


def _span_of_version(
    about: dict[str, Any], parts: list[dict[str, Any]], now_ns: int
) -> dict[str, Any]:
    first = parts[0][names.ARTIFACT_REF].removeprefix(MANIFEST)
    version = f"{about[names.TARGET_MODEL]} {about[names.TARGET_VERSION]} {first}"
    identity = feedback.identify(about[names.PROJECT], f"dataset {version}")
    span = feedback.make_span("otel_ml.update", identity, now_ns, about)
    span["events"] = [feedback.make_event(names.ARTIFACT_EVENT, now_ns, part) for part in parts]
    return span
