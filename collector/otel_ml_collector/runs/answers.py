"""Runs, lists of runs and traces, as the API returns them and pages show them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from operator import itemgetter
from typing import Any, Final

from pydantic import Field, TypeAdapter

from otel_ml import attributes as names
from otel_ml.records import (
    TOKENS,
    Evaluation,
    Inside,
    Linked,
    LinkedRun,
    ListedRun,
    RunFields,
    Tokens,
    about,
    about_field,
    tokens_of,
)
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.artifacts.find import LinkedArtifact, find_artifacts
from otel_ml_collector.fold.late import find_newest_rows, is_tag_newer
from otel_ml_collector.mapping.spans import name_without_id
from otel_ml_collector.owners import is_run
from otel_ml_collector.price import round_cost
from otel_ml_collector.runs.logs import (
    RunLine,
    add_contents,
    counts_of,
    make_lines,
    sources_of,
    values_of,
)
from otel_ml_collector.store.counted import NAMED
from otel_ml_collector.store.facts import (
    MetricValue,
    find_all_series,
    find_holders,
    read_evaluations,
    read_late_tags,
    read_lines,
    read_trace_keys,
)
from otel_ml_collector.store.reader import (
    JsonValue,
    Reader,
    Row,
    is_open,
    load_json,
    run_id_of,
    tagged_ns,
)
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.tables import CALL_VALUES
from otel_ml_collector.store.versions import Numbers, read_version_numbers, version_numbers
from otel_ml_collector.times import to_rfc3339

NO_PARENT: Final = "0" * 16
_AS_STORED: Final = tuple(field_.name for field_ in fields(RunFields))


class TagDetail(AnswerBody):
    """A tag with the user's own type and group."""

    name: str
    value: JsonValue
    type: str
    group: str


@dataclass(frozen=True, kw_only=True)
class LateRecords:
    """Late-arriving records of a model version, a trace key or a run that is not stored."""

    tags: dict[str, JsonValue] = field(default_factory=dict)
    logs: list[RunLine] = field(
        default_factory=list, metadata=about("Offsets are from the first line")
    )
    metrics: dict[str, MetricValue] = field(default_factory=dict)
    metric_points: dict[str, int] = field(default_factory=dict)
    metric_sources: dict[str, str] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    artifacts: list[LinkedArtifact] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TraceRecords(LateRecords):
    """Records that belong to no single stored run of a trace, such as feedback on the trace.

    If `run_id` is null, the records are about the whole trace. Otherwise they are about a run that
    has not arrived, or they are log lines of a span that is not a run.
    """

    project: str
    run_id: str | None


@dataclass(frozen=True, slots=True)
class SameCall:
    """Another record of the same call."""

    run_id: str
    start_ns: int
    scope: str = field(metadata=about("The instrumentation that wrote it"))


@dataclass(frozen=True, slots=True)
class Counted:
    """The tokens and cost of a run that count in sums."""

    tokens: Tokens
    cost: float | None


@dataclass(slots=True, kw_only=True)
class RunSummary(ListedRun):
    """A run as lists show it, with short previews of inputs and outputs."""

    start_time: str = field(metadata=about("RFC 3339, UTC"))
    last_heard_ns: int | None = field(
        metadata=about("For an unfinished run: when its process last sent anything")
    )
    inputs: str = field(metadata=about("A preview in plain text"))
    outputs: str | None = field(
        metadata=about("A preview in plain text; null while the run is not finished")
    )
    also_recorded: Sequence[SameCall] = about_field(
        (), "Other runs that record its call, and do not count"
    )
    counted: Counted | None = field(
        default=None,
        metadata=about("The amounts that count in sums, if they differ from its own"),
    )


@dataclass(slots=True, kw_only=True)
class Run(RunSummary):
    """A run with everything that is known about it."""

    inputs: JsonValue
    outputs: JsonValue
    finish_reason: str = field(
        metadata=about("Why the model stopped, such as stop; empty if unknown")
    )
    response_id: str = field(metadata=about("The provider's ID of the response; empty if unknown"))
    chunks: JsonValue = field(
        metadata=about("The chunks of a stream, if the output is made from them")
    )
    params: JsonValue
    trace_keys: list[str] = field(metadata=about("All keys of the trace"))
    capture: dict[str, list[str]] = field(
        metadata=about("Why parts were left out, by part: truncated, redacted, ...")
    )
    metrics: dict[str, MetricValue] = field(
        metadata=about("A number or numbers; at most 1,000 of a long series")
    )
    metric_points: dict[str, int] = field(metadata=about("Number of points of each metric"))
    metric_sources: dict[str, str] = field(
        metadata=about("Source of each metric: `data` if data_metrics computed it, else `logged`")
    )
    evaluations: list[Evaluation]
    tag_details: list[TagDetail]
    logs: list[RunLine]
    artifacts: list[LinkedArtifact] = field(metadata=about("Newest first, at most 1,000"))
    uses: list[Linked] = field(metadata=about("What the run used, at most 1,000"))
    produced: list[Linked] = field(metadata=about("What the run produced, at most 1,000"))
    used_by: list[LinkedRun] = field(metadata=about("Other runs that used its artifacts"))
    events: JsonValue
    links: JsonValue
    attributes: dict[str, JsonValue]
    otlp: dict[str, JsonValue] = field(
        metadata=about("Trace state, flags and dropped counts, if any")
    )
    resource: dict[str, JsonValue]
    scope: dict[str, JsonValue]
    dialect: str = field(metadata=about("Conventions by which it was read; `shape` if unknown"))


@cache
def summary_writer() -> TypeAdapter[RunSummary]:
    """Return the writer of a summary as the API's JSON. Its first use builds it."""
    return TypeAdapter(RunSummary)


@cache
def run_writer() -> TypeAdapter[Run]:
    """Return the writer of a run as the API's JSON. Its first use builds it."""
    return TypeAdapter(Run)


@dataclass(frozen=True, slots=True)
class SpanOutline:
    """A run in short: its place in the trace, its times, tokens and cost.

    Attributes:
        name: Its name without UUIDs, such as `Crew.kickoff`.
        end_ns: End of the run. For an unfinished run, the last time when it was known to be open.
        tokens, cost: The values of this run to use in totals of a trace or a list.
        is_resolved: Whether tokens and cost differ from those of the run's span, so that nothing is
            counted twice: another run records the same call, or the run is an agent that reports
            the sum of the calls below it.
        names_provider: Whether the run names the provider of its model. If it does but has no
            tokens, the tokens are unknown, not zero.
        own: If another run records the same call, the tokens and cost of this record, which do not
            count in totals.
        has_end: Whether the span has a duration: it is finished, and ended after it started.
    """

    run_id: str
    parent_run_id: str | None
    project: str
    name: str
    start_ns: int
    end_ns: int
    tokens: Tokens
    cost: float | None
    is_resolved: bool = False
    kind: str = ""
    names_provider: bool = True
    own: "Totals | None" = None
    model: str = ""
    outcome: str = "ok"
    error_type: str = ""
    span_kind: str = ""
    has_end: bool = True

    @property
    def trace_id(self) -> str:
        """The trace of the run."""
        return self.run_id.partition("-")[0]

    @property
    def length_ms(self) -> float:
        """How long the run took so far, in ms."""
        return (self.end_ns - self.start_ns) / 1e6

    @property
    def has_failed(self) -> bool:
        """Whether the run ended with an error."""
        return self.outcome == "error"


def make_span_outline(row: Row, trace_id: str, project: str) -> SpanOutline:
    """Make the outline of a run from a row of `outlines`."""
    above = row["parent_span_id"]
    return SpanOutline(
        run_id=f"{trace_id}-{row['span_id']}",
        parent_run_id=f"{trace_id}-{above}" if above.strip("0") else None,
        project=project,
        name=name_without_id(row["name"]),
        start_ns=row["start_ns"],
        end_ns=row["end_ns"],
        tokens=tokens_of(row),
        cost=row["cost"],
        is_resolved=bool(row["has_amounts"]),
        kind=row["kind"],
        names_provider=bool(row["names_provider"]),
    )


@dataclass(frozen=True, slots=True)
class Totals:
    """Tokens and cost of a trace; None if no run has them."""

    tokens: Tokens
    cost: float | None


def add_up(spans: Sequence[SpanOutline]) -> Totals:
    """Add up the tokens and costs that count in a trace. The calls of judges do not count."""
    counting = [span for span in spans if span.kind != names.JUDGE_KIND]
    costs = [span.cost for span in counting if span.cost is not None]
    return Totals(
        tokens=Tokens(
            *[
                _sum([getattr(span.tokens, field_.name) for span in counting])
                for field_ in fields(Tokens)
            ]
        ),
        cost=round_cost(sum(costs)) if costs else None,
    )


def has_tokens(tokens: Tokens) -> bool:
    """Return whether the number of input or output tokens is known."""
    return tokens.input is not None or tokens.output is not None


def _sum(numbers: Sequence[int | None]) -> int | None:
    items = [number for number in numbers if number is not None]
    return sum(items) if items else None


class RunsPage(AnswerBody):
    """A page of a list; `next_cursor` is null on the last page."""

    runs: list[RunSummary]
    next_cursor: str | None
    inside: dict[str, Inside] = Field(
        default={},
        description="With `roots` or `traces`: totals of each listed run and the calls inside "
        "it, by run ID",
    )
    ordered_since: str | None = Field(
        default=None,
        description="An order that is not by time, without `start`, covers only recent runs: "
        "those that started at this time or later. Null if all runs are covered",
    )
    ordered_by: str | None = Field(
        default=None,
        description="For the orders `worst` and `best`: whether the `lowest` or the `highest` "
        "scores come first. This depends on which scores are better for the judge",
    )


class Trace(AnswerBody):
    """All runs of the traces with the same ID or key, oldest first."""

    key: str
    runs: list[RunSummary]
    records: list[TraceRecords] = Field(
        description="At most 100 records: about the trace or its key, about runs that are not "
        "in this answer, and log lines without a run"
    )
    truncated: bool = Field(description="Whether there are more runs than in this answer")
    next_cursor: str | None = Field(default=None, description="Cursor of the next runs")
    hidden_parents: list[str] = Field(
        default=[], description="Parents of these runs in projects that the key cannot read"
    )


@dataclass(frozen=True, slots=True)
class LateFacts:
    """What the page of a run lists, record by record: scores, late tags and trace keys.

    Attributes:
        keys: Keys that the user gave to the run's trace.
        owners: The names under which records about the run are stored: the run ID, trace keys and
            tags, and the IDs of other runs that record the same call.
        tags: Tags that arrived after the span, by name. They replace tags of the span with the same
            name.
        evaluations: Scores by judges, labels by reviewers, ground truth and feedback, oldest first.
        version: Number of the model version, such as 3; None if it has none.
    """

    keys: Sequence[str]
    owners: Sequence[str]
    tags: Mapping[str, Row]
    evaluations: Sequence[Evaluation]
    version: int | None = None


def find_late_facts(reader: Reader, project: str, rows: Sequence[Row]) -> dict[str, LateFacts]:
    """Read the records that arrived separately from the spans of some runs, by run ID."""
    kinds = find_record_kinds(reader, project)
    keyed = reader.ahead(_keys_of, project, rows) if kinds.keys else None
    by_id = {run_id_of(row): row for row in rows}
    owners = {
        run_id: [run_id, *row["owners"], *(other.run_id for other in others_of(row))]
        for run_id, row in by_id.items()
    }
    named = sorted({name for names in owners.values() for name in names})
    scored = named if kinds.scores else [name for name in named if not is_run(name)]
    tagged = reader.ahead(read_late_tags, project, named) if kinds.tags else None
    spoken = _by_owner(read_evaluations(reader, project, scored)) if scored else {}
    judges = {item["judge"] for items in spoken.values() for item in items}
    numbers = read_version_numbers(
        reader, project, {"model": {row["model"] for row in rows}, "judge": judges}
    )
    tags = _by_owner(tagged.result()) if tagged else {}
    keys = keyed.result() if keyed else {}

    def gather(of_owners: Mapping[str, Sequence[Row]], run_id: str) -> list[Row]:
        return [record for owner in owners[run_id] for record in of_owners.get(owner, ())]

    return {
        run_id: LateFacts(
            keys.get(row["trace_id"], []),
            owners[run_id],
            _newest(row, gather(tags, run_id)),
            _evaluations(gather(spoken, run_id), numbers["judge"]),
            numbers["model"].get(_version_of(row)),
        )
        for run_id, row in by_id.items()
    }


def _version_of(row: Row) -> tuple[str, str, str]:
    return row["model"], row["digest"], row["structure"]


def others_of(row: Row) -> Sequence[SameCall]:
    """Return the other records of a run's call."""
    return tuple(
        SameCall(
            f"{item.get('trace_id', row['trace_id'])}-{item['span_id']}",
            item["start_ns"],
            item["scope"],
        )
        for item in load_json(row["others"], [])
    )


def find_owner_records(
    reader: Reader, project: str, owners: Sequence[str]
) -> dict[str, LateRecords]:
    """Read the late-arriving records of trace keys, model versions or missing runs, by owner."""
    if not owners:
        return {}
    made = _by_owner(read_evaluations(reader, project, owners))
    judges = {row["judge"] for rows in made.values() for row in rows}
    numbers = version_numbers(reader, project, "judge", judges)
    tags = _by_owner(read_late_tags(reader, project, owners))
    lines = _by_owner(read_lines(reader, project, owners))
    measured, logged = find_holders(reader, project, owners)
    metrics = find_all_series(reader, project, {owner: [owner] for owner in measured})
    artifacts = find_artifacts(reader, project, {owner: [owner] for owner in logged})
    late_records: dict[str, LateRecords] = {}
    for owner in owners:
        series = metrics.get(owner, [])
        rows = lines.get(owner, [])
        late_records[owner] = LateRecords(
            tags={tag["name"]: load_json(tag["value"]) for tag in tags.get(owner, [])},
            logs=make_lines(rows, rows[0]["time_ns"] if rows else 0),
            metrics=values_of(series),
            metric_points=counts_of(series),
            metric_sources=sources_of(series),
            evaluations=_evaluations(made.get(owner, []), numbers),
            artifacts=artifacts.get(owner, []),
        )
    return late_records


def find_owner_evaluations(reader: Reader, project: str, owner: str) -> list[Evaluation]:
    """Read the evaluations of an owner that is not a run, oldest first."""
    rows = read_evaluations(reader, project, [owner])
    return _evaluations(
        rows, version_numbers(reader, project, "judge", {row["judge"] for row in rows})
    )


def _keys_of(reader: Reader, project: str, rows: Sequence[Row]) -> dict[str, list[str]]:
    """Read the keys that users gave to the traces of some runs, by trace ID."""
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for row in read_trace_keys(reader, project, sorted({row["trace_id"] for row in rows})):
        keys[row["trace_id"]].append(row["key"])
    return keys


def _by_owner(rows: Iterable[Row]) -> dict[str, list[Row]]:
    entries: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        entries[row["owner"]].append(row)
    return dict(entries)


def _newest(row: Row, tags: Sequence[Row]) -> dict[str, Row]:
    """Return the newest late tag of each name, unless the tag of the run's span is newer."""
    if not tags:
        return {}
    own, tagged = row["tags"], tagged_ns(row)
    return {
        name: tag
        for name, tag in find_newest_rows(tags, "name").items()
        if is_tag_newer(name, tag["time_ns"], own, tagged)
    }


def _evaluations(rows: Sequence[Row], numbers: Numbers) -> list[Evaluation]:
    # In the order of filters; see `fold.late`.
    ordered = sorted(rows, key=itemgetter("time_ns", "judge", "version", "record_id"))
    return [
        Evaluation(
            judge=row["judge"],
            version=numbers.get((row["judge"], row["version"], "")),
            digest=row["version"],
            score=row["score"],
            passed=row["passed"],
            label=row["label"],
            explanation=row["explanation"],
            error=row["error"],
            source=row["source"],
            actual=load_json(row["word"]) if row["source"] == "actual" else None,
            time=to_rfc3339(row["time_ns"]),
            annotator=row["annotator"],
        )
        for row in ordered
    ]


def is_score(evaluation: Evaluation) -> bool:
    """Return whether an evaluation is a score, not only ground truth or a program's report."""
    is_bare = evaluation.score is None and evaluation.passed is None and not evaluation.label
    return evaluation.source != "agent" and (evaluation.actual is None or not is_bare)


def summarise(reader: Reader, project: str, rows: Sequence[Row]) -> list[RunSummary]:
    """Make the summaries of runs of one project from rows without payloads."""
    if not rows:
        return []
    keyed = (
        reader.ahead(_keys_of, project, rows) if find_record_kinds(reader, project).keys else None
    )
    numbers = version_numbers(reader, project, "model", {row["model"] for row in rows})
    add_contents(reader, project, rows)
    keys = keyed.result() if keyed else {}
    return [
        make_summary(row, numbers.get(_version_of(row)), keys.get(row["trace_id"], ()))
        for row in rows
    ]


def _name_main_record(row: Row) -> str | None:
    """Return the run that counts instead of a run; None if it counts itself."""
    if row["record_of"] == NO_PARENT:
        return None
    trace_id = row["record_trace"] if row["record_trace"].strip("0") else row["trace_id"]
    return f"{trace_id}-{row['record_of']}"


def make_summary(row: Row, version: int | None, keys: Sequence[str]) -> RunSummary:
    """Make the summary of a run from its row, its version number and its trace keys."""
    parent = row["parent_span_id"]
    others = others_of(row)
    shown = row | {name: _first(row[name], row[call]) for call, name in CALL_VALUES.items()}
    tokens = tokens_of({name: _first(row[name], row[f"other_{name}"]) for name in TOKENS})
    cost = _first(row["other_cost"], row["cost"])
    record_of = _name_main_record(row)
    counted = None
    if row["has_amounts"]:
        amounts = tokens_of({name: row[f"other_{name}"] for name in TOKENS})
        counted = Counted(amounts, row["other_cost"])
        if counted == Counted(tokens, cost) and not (record_of or others):
            counted = None  # the run only inherits a question or an answer
    return RunSummary(
        run_id=run_id_of(row),
        trace_id=row["trace_id"],
        parent_run_id=None if parent == NO_PARENT else f"{row['trace_id']}-{parent}",
        trace_key=next(iter(keys), ""),
        version=version,
        start_time=to_rfc3339(row["start_ns"]),
        latency_ms=row["latency_ns"] / 1e6 if row["latency_ns"] else None,
        last_heard_ns=row["heard_ns"] if is_open(row) else None,
        record_of=record_of,
        also_recorded=others,
        counted=counted,
        inputs=shown["inputs_preview"],
        outputs=shown["outputs_preview"],
        tags=_load_all(row["tags"] | row["late_tags"]),
        scores=dict(row["final_scores"]),
        passed={judge: bool(passed) for judge, passed in row["final_passed"].items()},
        failed_judges=list(row["final_failed"]),
        truth=_load_all(row["final_truth"]),
        label=_load_all(row["final_labels"]),
        agent=_load_all(row["final_reports"]),
        tokens=tokens,
        tokens_per_second=tokens_per_second(
            tokens.output, row["latency_ns"], shown["first_token_ms"]
        ),
        **{name: shown[name] for name in _AS_STORED}
        | {name: row[name] or row[f"trace_{name}"] for name in NAMED}
        | {"cost": round_cost(cost)},
    )


def _load_all(texts: Mapping[str, str]) -> dict[str, JsonValue]:
    return {name: load_json(text) for name, text in texts.items()}


def tokens_per_second(
    output: int | None, latency_ns: int | None, first_token_ms: float | None
) -> float | None:
    """Return how many tokens per second were streamed; None if unknown."""
    if output is None or latency_ns is None or first_token_ms is None:
        return None
    left_ns = latency_ns - first_token_ms * 1e6
    return output * 1e9 / left_ns if left_ns > 0 else None


def _first(value: Any, other: Any) -> Any:
    """Return the first value, or the other one if only the first one is empty."""
    return other if value in (None, "") and other not in (None, "") else value
