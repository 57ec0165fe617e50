"""The runs of an experiment, and the file that stores a result."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.judges.answer import Judgement
from otel_ml.late import late
from otel_ml.statistics.scored_runs import JudgeScore

walker: Any = late("types.walker")

_FORMAT: Final = 1
_KIND: Final = names.EXPERIMENT


@dataclass(frozen=True, slots=True)
class Experiment:
    """Facts about an experiment, such as which function ran on which data set, and when.

    Attributes:
        id: Run id of the experiment. Empty if nothing was recorded.
        name: Name of the experiment. Experiments with the same name are compared with each other.
        function: Name of the function under test. Its runs are recorded under this model name.
        version: Hash of the function's code, 16 hex digits. Empty if unknown.
        dataset: Name of the data set.
        dataset_version: Hash of the data set's content.
        items: Number of items.
        repeats: Number of runs per item.
        judges: Version of each judge by name.
        source: Hash of the source files of the function's package that were imported.
        start_ns: Start time in nanoseconds since the epoch (UTC).
        page: Address of the experiment's web page. Empty if there is none.
    """

    id: str
    name: str
    function: str
    version: str
    dataset: str
    dataset_version: str
    items: int
    repeats: int
    judges: Mapping[str, str]
    source: str = ""
    start_ns: int = 0
    page: str = ""


@dataclass(frozen=True, slots=True)
class ItemRun:
    """One run of the function under test on one item of a data set, with its output and scores.

    Attributes:
        item: Id of the item.
        digest: Hash of the item's inputs, expected answer and tags.
        repeat: Number of the repeat, from 0.
        outputs: What the function returned. None if it failed.
        outcome: ``ok`` or ``error``.
        error_type: Type of the exception. Empty if the run did not fail.
        error: Type and message of the exception. Empty if the run did not fail.
        latency_ms: Duration of the call in milliseconds.
        run_id: Id of this run. Empty if nothing was recorded.
        judgements: Scores by judge name. Empty if the run failed.
        tags: Tags of the item.
        source_run: Id of the earlier run that the item was created from. Empty if there is none.
        source_session: Session of that earlier run, or empty.
        cost: Cost in US dollars. None if unknown.
        inputs: Inputs of the item. None if the result was read from a file.
    """

    item: str
    digest: str
    repeat: int = 0
    outputs: Any = None
    outcome: str = "ok"
    error_type: str = ""
    error: str = ""
    latency_ms: float | None = None
    run_id: str = ""
    judgements: Mapping[str, Judgement] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    source_run: str = ""
    cost: float | None = None
    source_session: str = ""
    inputs: Any = field(default=None, compare=False)

    @property
    def scores(self) -> dict[str, float]:
        """Scores by judge name. A judge that gave no score is missing."""
        return {
            name: judgement.score
            for name, judgement in self.judgements.items()
            if judgement.score is not None
        }

    @property
    def passed(self) -> bool | None:
        """Whether the run passed all judges that return passed or failed.

        False if the run itself failed. None if all judges only return a score.
        """
        if self.outcome != "ok":
            return False
        items = [
            judgement.passed
            for judgement in self.judgements.values()
            if judgement.passed is not None
        ]
        return all(items) if items else None


def write_file(
    path: str | os.PathLike[str], experiment: Experiment, runs: Iterable[ItemRun]
) -> None:
    """Write an experiment to a file: one line about it, then one line per run, sorted by item."""
    head = {"format": _FORMAT, "kind": _KIND, **asdict(experiment)}
    lines = [head, *(_line(run) for run in sorted(runs, key=lambda run: (run.item, run.repeat)))]
    with Path(path).open("wb") as file:
        file.writelines(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)


def read_file(path: str | os.PathLike[str]) -> tuple[Experiment, list[ItemRun]]:
    """Read an experiment from a file that `write_file` wrote.

    Raises:
        ValueError: The file is not a saved experiment.
        OSError: The file cannot be read.
    """
    with Path(path).open("rb") as file:
        try:
            head, *lines = map(orjson.loads, file)
            known = {field_.name for field_ in fields(Experiment)}
            about = Experiment(**{key: value for key, value in head.items() if key in known})
            runs = [_run(line) for line in lines]
            is_ours = head["kind"] == _KIND and head["format"] == _FORMAT
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _odd(path) from error
    if not is_ours:
        raise _odd(path)
    return about, runs


def _odd(path: str | os.PathLike[str]) -> ValueError:
    return ValueError(
        f"Invalid baseline {os.fspath(path)!r}: expected a file that Result.save wrote"
    )


def _line(run: ItemRun) -> dict[str, Any]:
    facts: dict[str, Any] = {
        field_.name: getattr(run, field_.name)
        for field_ in fields(run)
        if field_.name != "inputs" and getattr(run, field_.name)
    }
    writer = walker.Walker()
    facts["outputs"] = writer.encode(run.outputs)
    facts["judgements"] = {
        name: {key: value for key, value in asdict(judgement).items() if value is not None}
        for name, judgement in run.judgements.items()
    }
    if run.tags:
        facts["tags"] = writer.encode(dict(run.tags))
    return facts


def _run(line: Mapping[str, Any]) -> ItemRun:
    entries = dict(line)
    entries["outputs"] = walker.decode(entries.get("outputs"))
    entries["tags"] = walker.decode(entries.get("tags") or {})
    entries["judgements"] = {
        name: Judgement(**judgement) for name, judgement in entries.get("judgements", {}).items()
    }
    return ItemRun(**entries)


def by_item(runs: Sequence[ItemRun]) -> dict[tuple[str, str], list[ItemRun]]:
    """Group runs by item (id and digest), and sort each group by repeat."""
    item_runs: dict[tuple[str, str], list[ItemRun]] = {}
    for run in sorted(runs, key=lambda run: run.repeat):
        item_runs.setdefault((run.item, run.digest), []).append(run)
    return item_runs


@dataclass(frozen=True, slots=True)
class RejudgedRun:
    """A stored run that the current version of a judge scored, with an earlier version's score.

    Attributes:
        run_id: Run id.
        start_ns: Start time in nanoseconds since the epoch (UTC).
        cluster: The run's session, or its trace if it has no session. Runs of the same cluster are
            not independent, and confidence intervals take this into account.
        before: Score by the earlier version. None if that version did not score the run.
        after: Score by the current version.
        is_stored: True if the collector already had the score by the current version, so the judge
            was not called again.
    """

    run_id: str
    start_ns: int
    cluster: str
    before: JudgeScore | None
    after: Judgement
    is_stored: bool = False

    @property
    def turn(self) -> str:
        """How the result changed from the earlier to the current version of the judge.

        ``to fail`` if the run passed before and fails now, ``to pass`` for the opposite. Empty if
        the result is the same or a version returned neither passed nor failed.
        """
        if self.before is None or None in (self.before.passed, self.after.passed):
            return ""
        if self.before.passed == self.after.passed:
            return ""
        return "to pass" if self.after.passed else "to fail"
