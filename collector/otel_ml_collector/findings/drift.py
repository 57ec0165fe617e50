"""Drift: find the fields of a model whose values changed, and classify the change.

The newest complete day, week or hour is compared with a reference. Pages also draw the current day,
but it is not compared. The values come from sketches, the stored daily summaries of fields. For
days without a sketch, a sample of the runs is read.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final, Literal

import orjson

from otel_ml import attributes as names
from otel_ml.counts import write_count
from otel_ml.statistics.distances import MARGIN, quantile
from otel_ml.statistics.field_drift import FieldDrift, Reference, compare_fields, moved_share
from otel_ml.statistics.fields import MISSING, TABLES, FieldSketch
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.evaluations.datasets import find_items, find_newest, versions_of
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.findings.affected_slices import AffectedSlice, find_affected_slices
from otel_ml_collector.findings.conditions import write_where
from otel_ml_collector.findings.findings import Finding, FindingKind, FindingsQuestion
from otel_ml_collector.findings.releases import Change, find_changes_of, name_condition
from otel_ml_collector.margins import Margins
from otel_ml_collector.store.counted import DELIVERIES, Bounds
from otel_ml_collector.store.field_values import (
    Section,
    VersionFields,
    merge_versions,
    section_of,
    sketch_payloads,
    write_step,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_counted, find_record_kinds
from otel_ml_collector.store.sketches import (
    SketchQuestion,
    read_fields,
    read_sketched_days,
    read_sketches,
)
from otel_ml_collector.store.sql import ALWAYS, Condition, Sql, all_of
from otel_ml_collector.store.versions import (
    all_version_numbers,
    read_versions,
    version_numbers,
)
from otel_ml_collector.times import DAY_NS, HOUR_NS, to_rfc3339
from otel_ml_collector.verdicts.claims import join_evidence, write_moment, write_shares
from otel_ml_collector.windows import Window
from otel_ml_collector.wording import score

FieldsPast = Literal["1h", "24h", "7d"]
ChangeWord = Literal["broken", "model", "traffic", ""]
# A model without a reference is compared with this many days.
DAYS_BEFORE: Final = "28d"
THAN: Final = "reference"

_LENGTHS_NS: Final[Mapping[FieldsPast, int]] = {"1h": HOUR_NS, "24h": DAY_NS, "7d": 7 * DAY_NS}
# Maximum length of a reference for windows of an hour. More hours do not improve the result.
_MOST_HOURS_NS: Final = 7 * DAY_NS
# Length of the time before the window that charts show.
_DRAWN_NS: Final = 28 * DAY_NS
_DAYS_BEFORE: Final = re.compile(r"(\d{1,2})d|24h", re.ASCII)
_MOST_DAYS_BEFORE: Final = 90
_VERSION_OF: Final = re.compile(r"version(?::(\d{1,9}))?", re.ASCII)
_BETWEEN: Final = re.compile(r"(\d{4}-\d\d-\d\d)/(\d{4}-\d\d-\d\d)", re.ASCII)
_DATASET: Final = re.compile(r"dataset:(.+?)(?::v(\d{1,9}))?", re.ASCII | re.DOTALL)
_PROFILE: Final = re.compile(r"profile:(.+?)(?::v(\d{1,9}))?", re.ASCII | re.DOTALL)
_SCORE: Final = re.compile(r'scores\["(.*)"\]@(.*)', re.DOTALL)
_MOST_ITEMS: Final = 5_000
_ITEMS_AT_ONCE: Final = 500
# Number of runs to read if there are no sketches: at least 200 per bucket, about 10,000 in total.
_LEAST_SAMPLE: Final = 200
_MOST_SAMPLE: Final = 10_000
_MOST_READ: Final = 60
_FEW_RUNS: Final = 20_000
# Maximum number of findings per model and per project.
_MOST_NAMED: Final = 3
_MOST_BROKEN: Final = 5
_MOST_MODELS: Final = 20
# Size of a drifted field in the cache of results, whose limit is a number of rows.
_ROWS_OF_FIELD: Final = 100


@dataclass(frozen=True, slots=True)
class FieldsQuestion:
    """A question about drift: the fields of one model, and the reference to compare them with.

    Attributes:
        reader: The store, with the rights of the caller.
        model: Name of the model.
        last: Length of the window that is compared with the reference.
        than: The reference. Either a number of days before the window, such as ``28d``; a range of
            days, such as ``2026-11-01/2026-11-08`` (the last day is excluded); ``version`` (the
            previous model version) or ``version:3``; ``dataset:qa`` or ``dataset:qa:v2``;
            ``profile:churn``; or ``reference``: the profile that was saved as the model's
            reference, or the 28 days before if there is none.
        where: A filter; only matching runs are compared. Stored daily summaries ignore filters, so
            a sample of the runs is read instead.
        margin: Smallest drift score that counts as a change.
        now_ns: Current time, in nanoseconds since 1970.
    """

    reader: Reader
    project: str
    model: str
    now_ns: int
    last: FieldsPast = "24h"
    than: str = THAN
    where: str = ""
    margin: float = MARGIN

    @property
    def step_ns(self) -> int:
        """Length of the judged window, and of each window it is compared with."""
        return _LENGTHS_NS[self.last]

    @property
    def bucket_ns(self) -> int:
        """Length of the time that one sketch covers; windows are made of whole buckets."""
        return min(self.step_ns, DAY_NS)

    @property
    def window(self) -> Window:
        """The newest complete window: the one that is compared with the reference."""
        end_ns = self.now_ns // self.bucket_ns * self.bucket_ns
        return Window(end_ns - self.step_ns, end_ns)


@dataclass(frozen=True, slots=True)
class ModelDrift:
    """How the recent values of a model's fields differ from those of a reference.

    A field is, for example, `inputs.age`. The reference is, for example, the 28 days before.

    Attributes:
        window: The recent period, which was compared with the reference.
        runs: Number of runs of the model in the window.
        drifts: The comparison of each field.
        history: Summaries of the values of all fields for each time bucket, from which a page draws
            charts. The key is the start of the bucket.
    """

    model: str
    window: Window
    runs: int
    reference: Reference
    reference_runs: int
    drifts: Sequence[FieldDrift]
    history: Mapping[int, VersionFields] = field(default_factory=dict)

    @property
    def changes(self) -> Mapping[str, ChangeWord]:
        """Why each drifted field probably changed. The key is its path, such as `inputs.age`.

        The value is `broken` if the drift suggests broken data: more missing values, or a different
        type. Otherwise it is `traffic` if any input of the model drifted, else `model`.
        """
        moved = [drift for drift in self.drifts if drift.word == "drift"]
        is_traffic = any(section_of(drift.name) == "inputs" for drift in moved)
        return {
            drift.name: "broken" if drift.is_broken else "traffic" if is_traffic else "model"
            for drift in moved
        }

    def since_ns(self, drift: FieldDrift) -> int:
        """Return the start of the first window in which the field had its present values."""
        starts = self.reference.starts_ns
        lately = drift.lately
        return starts[-lately] if 0 < lately <= len(starts) else self.window.start_ns


def find_drift(question: FieldsQuestion) -> ModelDrift:
    """Compare the recent values of each field of a model with those of a reference.

    The reference is given by `question.than`. For example, ``28d`` compares the values of
    `inputs.age` with those of the 28 days before.

    Raises:
        BadInput: The reference or the filter is invalid.
        Missing: The version, data set or profile does not exist.
    """
    than = read_than(question)
    return _judge(question, than, _load(question, than, [question.model])[question.model])


@dataclass(frozen=True, slots=True)
class Than:
    """The reference that fields are compared with, parsed from a text such as ``28d``.

    Exactly one of `time`, `version`, `dataset` and `profile` is set.

    Attributes:
        name: Words for the reference in sentences, such as "the 28 days before".
        time: Period whose runs are the reference.
        version: Number of the model version whose runs are the reference. 0 means the version
            before the newest.
        dataset: Name of a data set, and the number of its version. 0 means the newest version.
        profile: Name of a profile (stored summaries of fields), and the number of its version. 0
            means the newest version.
        references: Profiles that users saved as the reference of one model. Maps the name of each
            profile to the number of its newest version. A model with such a profile is compared
            with the profile, instead of with `time`. To get the reference of a model, call
            `of_model`.
    """

    name: str
    time: Window | None = None
    version: int | None = None
    dataset: tuple[str, int] | None = None
    profile: tuple[str, int] | None = None
    references: Mapping[str, int] = field(default_factory=dict)

    def of_model(self, model: str) -> "Than":
        """Return the reference of one model."""
        name = reference_name(model)
        if name not in self.references:
            return self
        return Than(f"the reference of {model}", profile=(name, self.references[name]))


def reference_name(model: str) -> str:
    """Return the name of the profile that is the reference of a model, if there is one."""
    return names.REFERENCE_OF + model.replace("@", "-")


def read_references(reader: Reader, project: str) -> dict[str, int]:
    """Return the names of profiles that are references of models, with their newest versions."""
    found: dict[str, int] = {}
    for (name, _, _), number in all_version_numbers(reader, project, "profile").items():
        if name.startswith(names.REFERENCE_OF):
            found[name] = max(number, found.get(name, 0))
    return found


def read_than(question: FieldsQuestion) -> Than:
    """Read the reference of a question.

    Raises:
        BadInput: The reference is invalid.
    """
    than = parse_than(question.than, question.window, question.bucket_ns)
    if question.than != THAN:
        return than
    return replace(than, references=read_references(question.reader, question.project))


def parse_than(text: str, window: Window, bucket_ns: int) -> Than:
    """Parse the text of a reference, in the form of `FieldsQuestion.than`.

    Raises:
        BadInput: The text is invalid.
    """
    if match := _DAYS_BEFORE.fullmatch(DAYS_BEFORE if text == THAN else text):
        days = int(match[1] or 1)
        if 1 <= days <= _MOST_DAYS_BEFORE:
            length_ns = days * DAY_NS
            if bucket_ns < DAY_NS:
                length_ns = min(length_ns, _MOST_HOURS_NS)
            days = length_ns // DAY_NS
            name = f"the {days} days before" if days > 1 else "the day before"
            return Than(name, Window(window.start_ns - length_ns, window.start_ns))
    if match := _VERSION_OF.fullmatch(text):
        number = int(match[1] or 0)
        name = f"version {number}" if number else "the version before"
        return Than(name, version=number)
    if match := _BETWEEN.fullmatch(text):
        first, last = (_read_day(day) for day in match.groups())
        if first < last <= first + _MOST_DAYS_BEFORE * DAY_NS:
            return Than(f"{match[1]} to {match[2]}", Window(first, last))
    if match := _DATASET.fullmatch(text):
        name = match[1] + (f":v{match[2]}" if match[2] else "")
        return Than(f"data set {name}", dataset=(match[1], int(match[2] or 0)))
    if match := _PROFILE.fullmatch(text):
        name = match[1] + (f":v{match[2]}" if match[2] else "")
        return Than(f"profile {name}", profile=(match[1], int(match[2] or 0)))
    raise BadInput(
        f"Invalid than {text[:80]!r}: expected reference, a number of days such as 28d (at most "
        f"{_MOST_DAYS_BEFORE}d), version or version:3, two days such as 2026-11-01/2026-11-08, "
        "dataset:qa or profile:churn",
        "than",
    )


def _read_day(text: str) -> int:
    try:
        return (date.fromisoformat(text) - date(1970, 1, 1)).days * DAY_NS
    except ValueError as error:
        raise BadInput(f"Invalid day {text!r}: expected one such as 2026-11-01", "than") from error


@dataclass(slots=True)
class _Loaded:
    """The fields of a model, by bucket."""

    buckets: dict[int, VersionFields] = field(default_factory=dict)


def _load(
    question: FieldsQuestion, than: Than, models: Sequence[str] | None
) -> defaultdict[str, _Loaded]:
    """Read the fields of models by bucket, for the reference, the window and the current day."""
    spans = [Window(question.window.start_ns - _DRAWN_NS, question.now_ns + 1)]
    if than.time is not None:
        spans.append(than.time)
    return load_fields(question, spans, models)


def load_fields(
    question: FieldsQuestion,
    spans: Sequence[Window],
    models: Sequence[str] | None,
    versions: Sequence[tuple[str, str]] | None = None,
    *,
    is_asked: bool = True,
) -> defaultdict[str, _Loaded]:
    """Read summaries of the values of fields, such as `inputs.language`, for each time bucket.

    Most days have stored summaries, called sketches. For all other days, a sample of the runs is
    read.

    Args:
        question: The project and the filter.
        spans: The periods to read. Each is extended to whole days.
        models: Names of the models; None for all.
        versions: Only these model versions: for each, the digest of its definition and that of its
            output structure. None for all.
        is_asked: Whether a user waits for the result. If not, days without a sketch are left out if
            they have more than 20,000 runs in total, because the store computes their sketches
            within minutes anyway.

    Returns:
        The summaries by bucket, for each model.
    """
    reader, project = question.reader, question.project
    of_models = _among(models, versions)
    known = {} if question.where else read_sketched_days(reader, project)
    days = _list_days(spans)
    sketched = {day_ns: known[day_ns] for day_ns in days if day_ns in known}
    bucket_ns = question.bucket_ns
    loaded: defaultdict[str, _Loaded] = defaultdict(_Loaded)
    read = read_sketches(
        reader,
        SketchQuestion(
            project,
            sketched,
            days[0],
            days[-1] + DAY_NS,
            bucket_ns,
            is_hourly=bucket_ns < DAY_NS,
            condition=of_models,
        ),
    )
    for model, buckets in read.items():
        for number, fields in buckets.items():
            loaded[model].buckets[number * bucket_ns] = fields
    unknown = [day_ns for day_ns in days if day_ns not in sketched]
    unknown = unknown[-_MOST_READ:]
    delivered = _count_delivered(reader, project, unknown)
    if delivered and (is_asked or sum(delivered.values()) <= _FEW_RUNS):
        _read_unsketched(question, [*delivered], of_models, loaded)
    _number_judges(reader, project, loaded)
    return loaded


def _count_delivered(reader: Reader, project: str, days: Sequence[int]) -> dict[int, int]:
    """Count the runs on each day, oldest first. Days without runs are left out.

    Counts above 65,536 are estimates.
    """
    if not days:
        return {}
    sql = Sql("""
        SELECT intDiv(start_ns, {day}) * {day} AS day_ns, uniq(trace_id, span_id) AS runs
        FROM {deliveries}
        WHERE project = {project:String}
          AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
          AND day_ns IN {days:Array(Int64)}
        GROUP BY day_ns ORDER BY day_ns""").fill(day=DAY_NS, deliveries=DELIVERIES)
    values = {
        "project": project,
        "start": days[0],
        "end": days[-1] + DAY_NS,
        "days": [*days],
    }
    return {row["day_ns"]: row["runs"] for row in reader.rows(sql, values)}


def _number_judges(reader: Reader, project: str, loaded: Mapping[str, _Loaded]) -> None:
    """Replace a judge's digest in the path of a score by its version number, as filters do."""
    every = [fields for of_model in loaded.values() for fields in of_model.buckets.values()]
    if not any("@" in path for fields in every for path in fields.fields):
        return
    numbers = {
        (name, digest): number
        for (name, digest, _), number in all_version_numbers(reader, project, "judge").items()
    }
    for of_model in loaded.values():
        of_model.buckets = {
            start_ns: replace(
                fields,
                fields={name_score(path, numbers): own for path, own in fields.fields.items()},
            )
            for start_ns, fields in of_model.buckets.items()
        }


def name_score(path: str, numbers: Mapping[tuple[str, str], int]) -> str:
    """Write the path of a score as filters do, with the number of the judge's version."""
    match = _SCORE.fullmatch(path)
    if match is None:
        return path
    number = numbers.get((match[1], match[2]))
    return f'scores["{match[1]}"]' + ("" if number is None else f"[{number}]")


def _read_unsketched(
    question: FieldsQuestion,
    days: Sequence[int],
    of_models: Condition,
    loaded: defaultdict[str, _Loaded],
) -> None:
    """Read a sample of the runs of days that have no sketch."""
    reader, project, bucket_ns = question.reader, question.project, question.bucket_ns
    wanted = of_models
    if question.where:
        condition, _ = compile_where(reader, project, question.where, is_bounded=True)
        wanted = all_of([of_models, condition])
    bounds = Bounds(start=Sql("{first:Int64}"), end=Sql("{until:Int64}"))
    runs = find_counted(reader, project, bounds)
    buckets = max(len(days) * DAY_NS // bucket_ns, 1)
    most = max(_MOST_SAMPLE // buckets, _LEAST_SAMPLE)
    for day_ns in days:
        until_ns = min(day_ns + DAY_NS, question.now_ns + 1)
        for at_ns, versions in read_fields(
            reader.rows,
            project,
            (day_ns, until_ns),
            runs,
            wanted,
            step_ns=bucket_ns,
            most=most,
        ):
            by_model: defaultdict[str, list[VersionFields]] = defaultdict(list)
            for (model, _, _), fields in versions.items():
                by_model[model].append(fields)
            for model, of_versions in by_model.items():
                loaded[model].buckets[at_ns] = merge_versions(of_versions)


def _among(
    models: Sequence[str] | None, versions: Sequence[tuple[str, str]] | None = None
) -> Condition:
    if models is None:
        return ALWAYS
    sql, parameters = Sql("model IN {of_models:Array(String)}"), {"of_models": [*models]}
    if versions is not None:
        sql += Sql(""" AND (toString(digest), toString(structure)) IN (
          SELECT arrayJoin(arrayZip({digests:Array(String)}, {structures:Array(String)})))""")
        parameters |= {
            "digests": [digest for digest, _ in versions],
            "structures": [structure for _, structure in versions],
        }
    return Condition(sql, parameters)


def _judge(question: FieldsQuestion, than: Than, loaded: _Loaded) -> ModelDrift:
    window, step_ns = question.window, question.step_ns
    than = than.of_model(question.model)
    current = _merge(loaded, window)
    if than.dataset is not None or than.profile is not None:
        reference = (
            _read_dataset(question, than, than.dataset)
            if than.dataset is not None
            else _read_profile(question, than)
        )
        reference_runs = max((own.runs for own in reference.fields.values()), default=0)
        expected = reference.fields.keys()
        current = VersionFields(
            current.sections,
            {path: own for path, own in current.fields.items() if path in expected},
        )
        paths = [*current.fields.keys() | expected]
    elif than.version is not None:
        current, before, name = _read_versions(question, than.version)
        paths = [*current.fields.keys() | before.fields.keys()]
        reference = Reference(name, before.filled(paths))
        reference_runs = before.sections.get("run", 0)
    else:
        time = than.time or window
        windows = [
            (start_ns, _merge(loaded, Window(start_ns, start_ns + step_ns)))
            for start_ns in range(
                time.end_ns - (time.end_ns - time.start_ns) // step_ns * step_ns,
                time.end_ns,
                step_ns,
            )
        ]
        windows = [(start_ns, fields) for start_ns, fields in windows if fields.sections]
        before = merge_versions(fields for _, fields in windows)
        going_on = (path for fields in loaded.buckets.values() for path in fields.fields)
        paths = [*dict.fromkeys(going_on)]
        reference = Reference(
            than.name,
            before.filled(paths),
            [fields.filled(paths) for _, fields in windows],
            [start_ns for start_ns, _ in windows],
        )
        reference_runs = before.sections.get("run", 0)
    return ModelDrift(
        question.model,
        window,
        current.sections.get("run", 0),
        reference,
        reference_runs,
        compare_fields(current.filled(paths), reference, margin=question.margin),
        loaded.buckets,
    )


def _merge(loaded: _Loaded, window: Window) -> VersionFields:
    parts = [
        fields
        for start_ns, fields in loaded.buckets.items()
        if window.start_ns <= start_ns < window.end_ns
    ]
    return parts[0] if len(parts) == 1 else merge_versions(parts)


def _read_versions(
    question: FieldsQuestion, number: int
) -> tuple[VersionFields, VersionFields, str]:
    """Read the newest version's fields in the window, and another version's fields.

    The other version is read in the 28 days up to its last run.

    Raises:
        Missing: The version does not exist, or there is no version before.
    """
    numbers = version_numbers(question.reader, question.project, "model", [question.model])
    keys: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    for (_, digest, structure), at in numbers.items():
        keys[at].append((digest, structure))
    window = question.window
    span = Window(window.end_ns - _DRAWN_NS, window.end_ns)
    newest = max(keys, default=0)
    before = number or max((at for at in keys if at < newest), default=0)
    if before not in keys or before == newest:
        raise Missing(f"{question.model!r} has no other version to compare with")
    sides = []
    for at, side in ((newest, window), (before, span)):
        loaded = load_fields(question, [span], [question.model], keys[at])
        sides.append(_merge(loaded[question.model], side))
    return sides[0], sides[1], f"{question.model}:v{before}"


def _read_dataset(question: FieldsQuestion, than: Than, dataset: tuple[str, int]) -> Reference:
    """Sketch the inputs and the expected outputs of the items of a data set."""
    name, number = dataset
    rows = versions_of(question.reader, question.project, name)
    if not number:
        newest = find_newest(question.reader, question.project, rows).get(name, rows[-1])
        number = newest["number"]
    fields = sketch_payloads(_read_items(question, name, number))
    return Reference(than.name, fields.filled(fields.fields))


def _read_items(
    question: FieldsQuestion, name: str, number: int
) -> Iterator[Mapping[Section, object]]:
    """Read the first items of a version of a data set."""
    cursor: str | None = None
    for _ in range(_MOST_ITEMS // _ITEMS_AT_ONCE):
        page = find_items(
            question.reader,
            question.project,
            name,
            number,
            limit=_ITEMS_AT_ONCE,
            cursor=cursor,
        )
        for item in page.items:
            yield {"inputs": item.inputs, "outputs": item.expected}
        cursor = page.next_cursor
        if cursor is None:
            return


def _read_profile(question: FieldsQuestion, than: Than) -> Reference:
    """Read the sketches of a profile whose fields are paths in inputs or outputs.

    Raises:
        Missing: The profile, or this version of it, does not exist.
    """
    name, number = than.profile or ("", 0)
    rows = read_versions(question.reader, question.project, "profile", [name])
    number = number or max((row["number"] for row in rows), default=0)
    documents = [row["definition"] for row in rows if row["number"] == number]
    if not documents:
        raise Missing(f"There is no {than.name} in project {question.project!r}")
    try:
        fields = {
            # References from tables had both keys.
            path_of_component(component): FieldSketch.from_dict(
                component.get("whole", component["sketch"])
            )
            for component in orjson.loads(documents[0])["components"]
            if component["side"] in {"input", "output"} and {"field", "sketch"} <= component.keys()
        }
    except (KeyError, TypeError, ValueError) as error:  # the document can be any text
        raise Missing(f"The document of {than.name} is not a profile") from error
    return Reference(than.name, fields)


def path_of_component(component: Mapping[str, Any]) -> str:
    """Return the path of the field that a component of a profile describes, as filters write it."""
    steps: list[str] = component.get("steps") or component["field"].split(".")
    return steps[0] + "".join(map(write_step, steps[1:]))


@dataclass(frozen=True, slots=True)
class CheckedDays:
    """Number of days with runs, and how many of these days have been checked for drift.

    The current day is not counted.

    Attributes:
        done: Number of days that have been checked. To check a day, its runs are summarized in the
            background. Days without a summary are counted here only if they have few runs in total,
            because then their runs are read directly.
        days: Number of all days with runs.
    """

    done: int
    days: int

    @property
    def is_complete(self) -> bool:
        """Whether all days are checked."""
        return self.done >= self.days


def count_checked_days(question: FindingsQuestion) -> CheckedDays:
    """Count the days whose fields `contribute` compares.

    After a large import, sketches of days are still being computed. The current day has none.
    """
    every = _ask_every(question)
    known = read_sketched_days(every.reader, every.project)
    days = [
        day_ns for day_ns in _list_days(_list_spans(every)) if day_ns + DAY_NS <= question.now_ns
    ]
    waiting = _count_delivered(
        every.reader, every.project, [day_ns for day_ns in days if day_ns not in known]
    )
    done = sum(day_ns in known for day_ns in days)
    # Days with few runs need no sketch: their runs are read instead.
    read = len(waiting) if sum(waiting.values()) <= _FEW_RUNS else 0
    return CheckedDays(done + read, done + len(waiting))


def _ask_every(question: FindingsQuestion) -> FieldsQuestion:
    """Return a question about the fields of all models."""
    length_ns = question.window.end_ns - question.window.start_ns
    last: FieldsPast = "1h" if length_ns < DAY_NS else "24h" if length_ns < 7 * DAY_NS else "7d"
    before = (question.reference.end_ns - question.reference.start_ns) // DAY_NS
    than = f"{max(before, 1)}d"
    if than == DAYS_BEFORE:
        than = THAN
    return FieldsQuestion(question.reader, question.project, "", question.now_ns, last, than)


def contribute(question: FindingsQuestion) -> list[Finding]:
    """Find the fields of all models that changed. Broken data comes first."""
    every = _ask_every(question)

    def judge() -> list[ModelDrift]:
        # Only the drifted fields of each model are kept, without their reference windows.
        return [
            replace(
                drift,
                drifts=[item for item in drift.drifts if item.name in drift.changes],
                reference=replace(drift.reference, fields={}, windows=()),
                history={},
            )
            for drift in judge_models(every)
            if drift.changes
        ]

    # If each day has sketches, the result depends only on the sketches. It is cached until a sketch
    # is computed again or another day is complete.
    known = read_sketched_days(every.reader, every.project)
    days = [(day_ns, known.get(day_ns)) for day_ns in _list_days(_list_spans(every))]
    is_settled = all(computed_ns is not None for _, computed_ns in days)
    if not is_settled:
        moved = judge()
    else:
        moved = every.reader.memory.work_out(
            (
                *("moved fields", every.project, every.last, every.than, every.window),
                *(tuple(days), tuple(sorted(read_than(every).references.items()))),
            ),
            judge,
            lambda kept: _ROWS_OF_FIELD * sum(len(drift.drifts) for drift in kept),
        )
    findings: list[Finding] = []
    for found in moved:
        drifts = [item for item in found.drifts if _matters(item, question.reader.margins)]
        drift = replace(found, drifts=drifts)
        changes = [item for item in find_changes_of(question) if item.model == drift.model]
        groups = _group_changes(drift)
        wheres = [write_where(drift.model, fields[0]) for _, fields in groups]
        parts = _find_parts(every, drift, wheres, days if is_settled else ())
        findings += [
            _make_finding(drift, kind, fields, changes, part)
            for (kind, fields), part in zip(groups, parts, strict=True)
        ]
    return findings


def _find_parts(
    every: FieldsQuestion,
    drift: ModelDrift,
    wheres: Sequence[str],
    days: Sequence[tuple[int, int | None]],
) -> list[AffectedSlice | None]:
    """Find the slice that has nearly all runs of each filter.

    Args:
        every: The question.
        drift: The fields of the model.
        wheres: The filters.
        days: Each day with the time when its sketches were made. The result is cached until one of
            these times changes. Empty if a day has no sketches; the result is not cached then. It
            is also not cached if the project has late-arriving tags, because such tags change the
            slices but not the sketches.
    """
    reader, project = every.reader, every.project

    def find() -> list[AffectedSlice | None]:
        return find_affected_slices(reader, project, drift.model, drift.window, wheres)

    if not days or find_record_kinds(reader, project).tags:
        return find()
    key = ("affected slices", project, drift.model, drift.window, tuple(wheres), tuple(days))
    return reader.memory.work_out(key, find, len)


def _matters(drift: FieldDrift, margins: Margins) -> bool:
    """Whether a change of latency or cost is at least the smallest difference that matters."""
    least = {"latency_ms": margins.time_ms, "cost": margins.cost}.get(drift.name, 0.0)
    if not least or drift.is_broken:
        return True
    return any(
        abs(quantile(part.window, share) - quantile(part.reference, share)) >= least
        for part in drift.drifted
        if part.reference.n and part.window.n and part.window.kind == "number"
        for share in (0.5, 0.95)
    )


def _list_spans(every: FieldsQuestion) -> list[Window]:
    """List the periods whose fields are read."""
    than = read_than(every)
    return [Window(than.time.start_ns, every.window.end_ns)] if than.time else [every.window]


def _list_days(spans: Sequence[Window]) -> list[int]:
    """List the starts of all days in some periods, as nanoseconds since 1970."""
    return sorted(
        {
            day_ns
            for span in spans
            for day_ns in range(span.start_ns // DAY_NS * DAY_NS, span.end_ns, DAY_NS)
        }
    )


def judge_models(every: FieldsQuestion) -> Iterator[ModelDrift]:
    """Compare the fields of the 20 models with the most runs, largest first.

    Args:
        every: The question. Its model is ignored.
    """
    than = read_than(every)
    loaded = load_fields(every, _list_spans(every), None, is_asked=False)
    largest = sorted(
        loaded,
        key=lambda model: (-_merge(loaded[model], every.window).sections.get("run", 0), model),
    )
    for model in largest[:_MOST_MODELS]:
        yield _judge(replace(every, model=model), than, loaded[model])


def _group_changes(drift: ModelDrift) -> list[tuple[FindingKind, Sequence[FieldDrift]]]:
    """Group the changed fields of a model: each broken field alone, then by model and traffic."""
    by_word: defaultdict[ChangeWord, list[FieldDrift]] = defaultdict(list)
    words = drift.changes
    for item in drift.drifts:
        if item.name in words:
            by_word[words[item.name]].append(item)
    for word, group in by_word.items():  # for traffic, inputs come first
        group.sort(
            key=lambda entry: (
                word == "traffic" and section_of(entry.name) != "inputs",
                -count_moved(entry),
                entry.name,
            )
        )
    groups: list[tuple[FindingKind, Sequence[FieldDrift]]] = [
        ("broken", [item]) for item in by_word["broken"][:_MOST_BROKEN]
    ]
    groups += [("model", by_word["model"]), ("traffic", by_word["traffic"])]
    return [(kind, group) for kind, group in groups if group]


def _make_finding(
    drift: ModelDrift,
    kind: FindingKind,
    fields: Sequence[FieldDrift],
    changes: Sequence[Change],
    affected: AffectedSlice | None,
) -> Finding:
    """Describe a change in a sentence, with the slice that has nearly all of its runs."""
    since_ns = min(drift.since_ns(field_) for field_ in fields)
    since = f"since {write_moment(since_ns)}"
    first, others = fields[0], fields[1:]
    name = name_field(first.name)
    part = name_condition(affected.part.where) if affected else ""
    of_all = ""
    missing = next((part for part in first.drifted if part.name == MISSING), None)
    if kind == "broken" and missing is not None:
        before, now = (
            part.values.get("missing", 0) / max(part.n, 1)
            for part in (missing.reference, missing.window)
        )
        now_words, before_words = write_shares(now, before)
        earlier = f"before in {before_words}" if before else "never before"
        title = f"{drift.model}: {name} is missing"
        text = f" in {now_words} of runs {since}, {earlier}"
        if affected is not None:
            own, rest = write_shares(affected.share, affected.rest)
            elsewhere = f"elsewhere in {rest}" if affected.rest else "never elsewhere"
            of_all = f"Missing in {now_words} of all runs, {earlier}"
            title = f"{title} for {part}"
            text = f" in {own} of runs {since}, {elsewhere}"
    else:
        title = {
            "broken": f"{drift.model}: {name} has a different type",
            "model": f"{drift.model} changed, but its inputs did not",
        }.get(kind, f"The inputs of {drift.model} changed")
        shown = _WITH_UNITS.get(first.name, name)
        named = "" if kind == "broken" else f"{shown[:1].upper()}{shown[1:]}: "
        text = f"{':' if kind == 'broken' else '.'} {named}{first.sentence} {since}"
        if affected is not None:
            text += f", {'almost ' if affected.rest else ''}only for {part}"
    began = name_change(changes, since_ns, drift.window.end_ns)
    more = [name_field(item.name) for item in others[:_MOST_NAMED]]
    if len(others) > _MOST_NAMED:
        more.append(f"{len(others) - _MOST_NAMED} more fields")
    return Finding(
        kind=kind,
        sentence=f"{title}{text}",
        model=drift.model,
        where=write_where(drift.model, first),
        start_ns=since_ns,
        end_ns=drift.window.end_ns,
        size=max(count_moved(field_) for field_ in fields),
        field=first.name,
        title=title,
        evidence=join_evidence(
            of_all,
            f"Other changed fields: {', '.join(more)}" if more else "",
            f"{write_count(drift.runs, 'run was', 'runs were')} compared with "
            f"{write_count(drift.reference_runs, 'run')} of "
            f"{drift.reference.name}",
            f"Drift score of {name}: {score(first.distance)}",
            began if kind != "traffic" else "",
        ),
        measure="data" if kind == "broken" else "quality" if kind == "model" else "traffic",
        condition=affected.part.where if affected else "",
    )


_WITH_UNITS: Final = {"latency_ms": "latency in ms", "cost": "cost in $"}
_LAST_KEY: Final = re.compile(r'\["((?:[^"\\]|\\.)*)"\]$')
_JUDGE_FIELD: Final = re.compile(r'scores\["((?:[^"\\]|\\.)*)"\](?:\[(\d+)\])?')
_SECTION_NAMES: Final[Mapping[str, str]] = {
    "inputs": "input",
    "outputs": "output",
    "params": "parameter",
}


def name_field(path: str) -> str:
    """Name a field in a sentence: `input "mean texture"`, `output label`, `latency_ms`."""
    if judge := _JUDGE_FIELD.fullmatch(path):
        return f'score by judge "{judge[1]}"{f" v{judge[2]}" if judge[2] else ""}'
    section, dot, rest = path.partition(".")
    key = _LAST_KEY.search(path)
    section = _SECTION_NAMES.get(section.partition("[")[0], "")
    if not section:
        return path
    return f'{section} "{key[1]}"' if key else f"{section} {rest}" if dot else path


def write_time(time_ns: int) -> str:
    """Write a day, or an hour of it."""
    written = to_rfc3339(time_ns)
    return written[:10] if time_ns % DAY_NS == 0 else f"{written[:16].replace('T', ' ')} UTC"


def name_started(change: Change) -> str:
    """Name the version, release or LLM that a change brought, such as `release 2026-11-26`."""
    kinds = {"version": "", "release": "release ", "provider_model": "LLM "}
    name = change.name.replace(":v", " v") if change.dimension == "version" else change.name
    return f"{kinds[change.dimension]}{name}"


def name_change(changes: Iterable[Change], start_ns: int, end_ns: int) -> str:
    """Name the version, release or LLM that began with a change; empty for none."""
    began = [change for change in changes if start_ns - DAY_NS <= change.began_ns < end_ns]
    named = [
        f"First run of {name_started(item)}: {write_moment(item.began_ns)}"
        for item in sorted(began, key=lambda entry: (entry.began_ns, entry.dimension))
    ]
    return ". ".join(named[:_MOST_NAMED])


def count_moved(drift: FieldDrift) -> float:
    """Estimate how many runs have a changed value, by the part of the field that changed most."""
    runs = drift.window.types.get(TABLES, drift.window.runs)
    return max(
        (moved_share(part.reference, part.window) * runs for part in drift.drifted), default=0.0
    )
