"""Queries about models and their versions, shared by the JSON API and the pages."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import Field, ValidationError

from otel_ml.records import Alias, Aliases, Infinite, LinkedRun, ListedVersion, ModelCounts, about
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import Missing
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.measures.statistics import (
    is_version,
    list_models,
    read_first_starts,
    read_version_runs,
    read_version_scores,
)
from otel_ml_collector.measures.sums import mean_score
from otel_ml_collector.owners import own_model
from otel_ml_collector.runs.answers import LateRecords, find_owner_records
from otel_ml_collector.runs.lineage import find_linked_runs
from otel_ml_collector.stats import RunFigures, StatsQuery, find_total
from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.record_kinds import find_owners, find_record_kinds
from otel_ml_collector.store.sql import ALWAYS, Condition, Sql
from otel_ml_collector.store.versions import (
    read_aliases,
    read_current_aliases,
    read_versions,
    version_numbers,
)
from otel_ml_collector.times import DAY_NS, to_rfc3339
from otel_ml_collector.verdicts.verdicts import (
    JudgeVersionName,
)
from otel_ml_collector.versions.definition import VersionDefinition
from otel_ml_collector.windows import Window

_NEWEST_VERSIONS: Final = 8
_VERSIONS_KEPT: Final = 4
_NEW_DAYS: Final = 30
_MOVES: Final = 1_000
_LINKED: Final = 100


class Models(AnswerBody):
    """The models of a project, the latest to run first."""

    models: list[ModelCounts]


class JudgeStats(JudgeVersionName):
    """A judge version's scores of a version of a model."""

    evaluations: int
    failed: int = Field(description="Number of evaluations in which the judge raised an error")
    mean_score: float | None
    passed: int
    judged: int = Field(description="Number of scores with pass or fail")
    on_request: int = Field(
        description="Number of evaluations of the requests that contain the runs. Each counts once "
        "for each version in the request"
    )


@dataclass(frozen=True, kw_only=True)
class VersionDetail(LateRecords, ListedVersion):
    """A version of a model, the figures of its recorded runs, and its late records."""

    judges: list[JudgeStats]
    definition: VersionDefinition
    produced_by: list[LinkedRun] = field(
        metadata=about("Runs that produced it, the last one first, at most 100")
    )
    used_by: list[LinkedRun] = field(
        metadata=about(
            "Runs that used it, the last one first, at most 100; on the newest version "
            "also those that named none"
        )
    )
    aliases: list[str] = field(metadata=about("The names that it has now, such as champion"))
    last_metrics: dict[str, float | Infinite | None] = field(
        metadata=about("The last value of each metric that was logged of the version itself")
    )


class Versions(AnswerBody):
    """The versions of a model, the newest first."""

    versions: list[VersionDetail]


def find_models(reader: Reader, project: str) -> list[ModelCounts]:
    """List the models of a project, the latest to run first."""
    rows = list_models(reader, project)
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for version in read_versions(reader, project, "model", [row["model"] for row in rows]):
        numbers[version["name"]].add(version["number"])
    return [
        ModelCounts(
            model=row["model"],
            kind=row["kind"],
            runs=row["runs"],
            errors=row["errors"],
            versions=len(numbers[row["model"]]),
            latest_version=max(numbers[row["model"]], default=None),
            last_start_time=to_rfc3339(row["last_start_ns"]),
            experiment_runs=row["experiment_runs"],
        )
        for row in rows
    ]


def find_versions(
    reader: Reader, project: str, model: str, *, has_scores: bool = True
) -> list[VersionDetail]:
    """Read the versions of a model with the figures of their recorded runs, newest first.

    Args:
        reader: The store.
        project: The project.
        model: Name of the model.
        has_scores: Whether the scores of judges are read, which takes longer than all the rest.

    Raises:
        Missing: The model has no version.
    """
    rows = read_versions(reader, project, "model", [model])
    if not rows:
        raise Missing(f"Project {project!r} has no version of a model {model!r}")
    by_number: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_number[row["number"]].append(row)
    definitions = _definitions(rows)
    asked = reader.ahead(read_version_scores, project, model) if has_scores else None
    named = reader.ahead(read_current_aliases, project, model)
    runs = {row["number"]: row for row in read_version_runs(reader, project, model)}
    judges: defaultdict[int, list[JudgeStats]] = defaultdict(list)
    scores = asked.result() if asked else []
    judge_numbers = version_numbers(reader, project, "judge", {row["judge"] for row in scores})
    for row in scores:
        digest = row["judge_version"]
        version = judge_numbers.get((row["judge"], digest, ""))
        scored = JudgeStats(**row, mean_score=mean_score(row), digest=digest, version=version)
        judges[row["number"]].append(scored)
    late_records = _find_late_records(reader, project, model, by_number)
    has_links = find_record_kinds(reader, project).links
    linked = find_linked_runs(reader, project, model) if has_links else {}
    newest = max(by_number)
    numbers = _first_numbers(rows)
    aliases: defaultdict[int, list[str]] = defaultdict(list)
    for row in named.result():
        aliases[numbers.get(row["digest"], 0)].append(row["alias"])
    return [
        _version(
            model,
            structures,
            runs.get(number),
            judges=sorted(judges[number], key=lambda entry: entry.order),
            definition=definitions[number],
            late=late_records[number],
            aliases=aliases[number],
            linked={
                role: [
                    *runs_of.get(number, []),
                    *(runs_of.get(None, []) if number == newest else []),
                ]
                for role, runs_of in linked.items()
            },
        )
        for number, structures in sorted(by_number.items(), reverse=True)
    ]


@dataclass(frozen=True, slots=True)
class Sample:
    """The recorded runs on one side of a comparison.

    Attributes:
        where: The filter that selects the runs, such as `model == "answer"`.
        version: Model and version number if the sample is all runs of one version; otherwise None.
    """

    where: str
    version: tuple[str, int] | None = None

    @classmethod
    def of_version(cls, model: str, number: int) -> "Sample":
        """Return the sample of all runs of a version."""
        return cls(f"model == {quoted(model)}", (model, number))

    def write_condition(self, reader: Reader, project: str) -> Condition:
        """Write the condition of the sample, in addition to its filter."""
        return is_version(reader, project, *self.version) if self.version else ALWAYS


def find_sample_figures(reader: Reader, project: str, sample: Sample, window: Window) -> RunFigures:
    """Count the runs of a sample in a window, as `find_stats` does, without scores.

    Raises:
        BadInput: The filter is wrong.
    """
    condition = sample.write_condition(reader, project)
    query = StatsQuery(project, sample.where, "", window, None, 1, condition)
    return find_total(reader, query)


def find_aliases(reader: Reader, project: str, model: str) -> Aliases:
    """Read the aliases of a model's versions, and when they changed.

    Raises:
        Missing: The model has no version.
    """
    rows = read_versions(reader, project, "model", [model])
    if not rows:
        raise Missing(f"Project {project!r} has no version of a model {model!r}")
    numbers = _first_numbers(rows)
    now = read_current_aliases(reader, project, model)
    moves = read_aliases(reader, project, model, _MOVES)
    return Aliases([_alias(row, numbers) for row in now], [_alias(row, numbers) for row in moves])


def find_moves(
    reader: Reader, project: str, model: str, versions: Iterable[VersionDetail]
) -> list[Alias]:
    """Read when the aliases of a model changed, newest first; `versions` are already known."""
    numbers = {version.digest: version.version for version in versions}
    return [_alias(row, numbers) for row in read_aliases(reader, project, model, _MOVES)]


def _alias(row: Row, numbers: Mapping[str, int]) -> Alias:
    facts = {name: row[name] for name in ("alias", "digest", "by", "source", "is_removed")}
    time = to_rfc3339(row["time_ns"])
    return Alias(**facts, version=numbers.get(row["digest"]), time=time)


def _first_numbers(rows: Sequence[Row]) -> dict[str, int]:
    """Return the first version number of each definition. An alias of a definition means it."""
    return {row["digest"]: row["number"] for row in reversed(rows)}


def find_digest(reader: Reader, project: str, model: str, number: int) -> str:
    """Return the digest of a version.

    Raises:
        Missing: There is no such version.
    """
    return find_digests(reader, project, model, [number])[0]


def find_digests(reader: Reader, project: str, model: str, numbers: Sequence[int]) -> list[str]:
    """Return the digest of each of some versions of a model.

    Raises:
        Missing: There is no such version.
    """
    digests: dict[int, str] = {}
    for row in read_versions(reader, project, "model", [model]):
        digests.setdefault(row["number"], str(row["digest"]))
    for number in numbers:
        if number not in digests:
            raise Missing(f"Model {model!r} has no version {number}")
    return [digests[number] for number in numbers]


def find_version(reader: Reader, project: str, model: str, number: int) -> VersionDetail:
    """Read a version of a model.

    Raises:
        Missing: There is no such version.
    """
    for version in find_versions(reader, project, model):
        if version.version == number:
            return version
    raise Missing(f"Model {model!r} has no version {number}")


def _find_late_records(
    reader: Reader, project: str, model: str, by_number: Mapping[int, Sequence[Row]]
) -> Mapping[int, LateRecords]:
    """Find the late-arriving records of versions, by the first structure of their definition."""
    owners = {
        number: own_model(model, row["digest"])
        for number, structures in by_number.items()
        for row in structures
        if not row["structure"]
    }
    known = find_owners(reader, project, sorted(set(owners.values())))
    late_records = find_owner_records(reader, project, sorted(known))
    return {number: late_records.get(owners.get(number, ""), LateRecords()) for number in by_number}


def _version(
    model: str,
    structures: Sequence[Row],
    runs: Row | None,
    *,
    judges: list[JudgeStats],
    definition: VersionDefinition,
    late: LateRecords,
    aliases: list[str],
    linked: Mapping[str, Sequence[LinkedRun]],
) -> VersionDetail:
    """Make a version from its structures. Runs without a structure count for the first one."""
    first = structures[0]
    first_ns = [row["first_ns"] for row in structures]
    if runs and runs["first_start_ns"]:
        first_ns.append(runs["first_start_ns"])
    return VersionDetail(
        model=model,
        version=first["number"],
        digest=first["digest"],
        first_seen_time=to_rfc3339(min(first_ns)),
        runs=runs["runs"] if runs else 0,
        errors=runs["errors"] if runs else 0,
        p50_ms=runs["p50_ms"] if runs else None,
        p95_ms=runs["p95_ms"] if runs else None,
        experiment_runs=runs["experiment_runs"] if runs else 0,
        judges=judges,
        definition=definition,
        aliases=aliases,
        produced_by=[*linked.get("produced", ())[:_LINKED]],
        used_by=[*linked.get("used", ())[:_LINKED]],
        last_metrics={
            name: value[-1] if isinstance(value, list) else value
            for name, value in late.metrics.items()
        },
        **vars(late),
    )


def find_definitions(
    reader: Reader, project: str, models: Sequence[str]
) -> dict[str, dict[int, VersionDefinition]]:
    """Read the definitions of some models: by model, and by version in their order."""
    by_model: defaultdict[str, list[Row]] = defaultdict(list)
    for row in read_versions(reader, project, "model", models):
        by_model[row["name"]].append(row)
    return {model: _definitions(rows) for model, rows in by_model.items()}


def _definitions(rows: Sequence[Row]) -> dict[int, VersionDefinition]:
    """Choose the definition of each version: its own, else another with the same digest."""
    by_digest: dict[str, str] = {}
    own: dict[int, str] = {}
    for row in rows:
        if row["definition"]:
            by_digest.setdefault(row["digest"], row["definition"])
            own.setdefault(row["number"], row["definition"])
    first = {row["number"]: row["digest"] for row in reversed(rows)}
    texts = {number: own.get(number) or by_digest.get(first[number]) for number in sorted(first)}
    return {
        number: _definition(text) if text else VersionDefinition() for number, text in texts.items()
    }


def _definition(text: str) -> VersionDefinition:
    """Read a definition. One that does not have our form is shown as it was received."""
    try:
        return VersionDefinition.model_validate_json(text)
    except ValidationError:
        return VersionDefinition(source=text)


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A model's newest version, with its definition and that of the previous version.

    Attributes:
        previous: Number of the previous version.
        first_ns: When its first run started, or when its first record arrived if that was earlier.
    """

    project: str
    model: str
    number: int
    previous: int
    first_ns: int
    after: VersionDefinition
    before: VersionDefinition


def find_new_versions(reader: Reader, now_ns: int) -> list[NewVersion]:
    """Find the last eight versions that replaced another version in the last 30 days.

    Versions that only ran in experiments do not count. The versions are cached if no other process
    writes to the store, and read again when a version arrives or is deleted.
    """
    if reader.memory.is_alone:
        state = ("new versions", reader.access.projects, reader.memory.generation)
        models = reader.memory.work_out(state, lambda: _read_new_models(reader), _count_kept)
    else:
        models = _read_new_models(reader)
    chosen = [version for model in models if (version := _choose_newest(reader, model))]
    chosen.sort(key=lambda version: -version.first_ns)
    newest = [
        item for item in chosen[:_NEWEST_VERSIONS] if item.first_ns >= now_ns - _NEW_DAYS * DAY_NS
    ]
    started = _find_starts(reader, newest)
    return sorted(
        (
            replace(item, first_ns=min(item.first_ns, started.get(_key_of(item), item.first_ns)))
            for item in newest
        ),
        key=lambda version: -version.first_ns,
    )


def _key_of(version: NewVersion) -> tuple[str, str, int]:
    return version.project, version.model, version.number


def _find_starts(reader: Reader, versions: Sequence[NewVersion]) -> dict[tuple[str, str, int], int]:
    """Return the start of the first run, by project, model and number of the version."""
    models: defaultdict[str, list[str]] = defaultdict(list)
    for version in versions:
        models[version.project].append(version.model)
    starts: dict[tuple[str, str, int], int] = {}
    for project, names in models.items():
        own = reader.narrow(replace(reader.access, projects=(project,)))
        numbers = version_numbers(own, project, "model", names)
        for row in read_first_starts(own, project, names):
            number = numbers.get((row["model"], row["digest"], row["structure"]), 0)
            key = project, row["model"], number
            starts[key] = min(row["first_ns"], starts.get(key, row["first_ns"]))
    return starts


@dataclass(frozen=True, slots=True)
class _NewModel:
    """A model with its newest versions: number, time of first arrival, and definition."""

    project: str
    model: str
    versions: Sequence[tuple[int, int, VersionDefinition]]


def _count_kept(models: Sequence[_NewModel]) -> int:
    """Return the size of versions in the cache, in rows of 2 kB, mostly for their source."""
    return sum(len(repr(model.versions)) // 2_000 + 1 for model in models)


def _read_new_models(reader: Reader) -> list[_NewModel]:
    listed = list_new_versions(reader, 2 * _NEWEST_VERSIONS)
    names: defaultdict[str, list[str]] = defaultdict(list)
    for row in listed:
        names[row["project"]].append(row["name"])
    models = []
    for project, of_project in names.items():
        rows: defaultdict[str, list[Row]] = defaultdict(list)
        for row in read_versions(reader, project, "model", of_project):
            rows[row["name"]].append(row)
        for model, structures in rows.items():
            first_ns: dict[int, int] = {}
            for row in structures:
                first_ns[row["number"]] = min(
                    row["first_ns"], first_ns.get(row["number"], row["first_ns"])
                )
            definitions = _definitions(structures)
            models.append(
                _NewModel(
                    project,
                    model,
                    [
                        (number, first_ns[number], definitions[number])
                        for number in sorted(first_ns)[-_VERSIONS_KEPT:]
                    ],
                )
            )
    return models


def _choose_newest(reader: Reader, model: _NewModel) -> NewVersion | None:
    """Choose the newest version that ran outside of experiments, and the one before it."""
    own = reader.narrow(replace(reader.access, projects=(model.project,)))
    tried = find_tried_alone(own, model.project, model.model)
    versions = [version for version in model.versions if version[0] not in tried]
    if len(versions) < 2:  # noqa: PLR2004 - it replaced none, or that was deleted in between
        return None
    (previous, _, before), (number, first_ns, after) = versions[-2:]
    return NewVersion(
        project=model.project,
        model=model.model,
        number=number,
        previous=previous,
        first_ns=first_ns,
        after=after,
        before=before,
    )


def find_tried_alone(reader: Reader, project: str, model: str) -> set[int]:
    """Return the numbers of a model's versions that only ran in experiments."""
    if not find_record_kinds(reader, project).experiments:
        return set()
    rows = read_version_runs(reader, project, model)
    return {row["number"] for row in rows if row["experiment_runs"] and not row["runs"]}


def list_new_versions(reader: Reader, limit: int) -> list[Row]:
    """List the models that most recently got a new version.

    Returns:
        Rows of ``project``, ``name`` and ``newest_ns`` (when the newest version arrived), newest
            first. Models with only one version are left out.
    """
    return reader.rows(
        Sql("""
        SELECT project, name, max(first_ns) AS newest_ns
        FROM (
          SELECT project, name, digest, structure, min(first_arrived_ns) AS first_ns
          FROM model_versions WHERE kind = 'model' AND {readable}
          GROUP BY project, name, digest, structure
        )
        GROUP BY project, name
        HAVING uniqExact(digest) > 1
        ORDER BY newest_ns DESC, project, name LIMIT {limit:UInt32}
        """).fill(readable=READABLE),
        {"limit": limit},
    )
