"""The runs of an experiment over items, and the file that keeps them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.judges.answer import Judgement
from otel_ml.late import late
from otel_ml.statistics.verdict import JudgeScore

walker: Any = late("types.walker")

_FORMAT: Final = 1
_KIND: Final = names.EXPERIMENT


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment: its function, its data set, its time.

    Attributes:
        id: Its run id; empty where nothing was recorded.
        name: Under which experiments are compared.
        function: The name of the model that was run.
        version: Of the function, 16 hex digits; empty where it is not known.
        dataset: The data set's name.
        dataset_version: Its digest.
        items: How many items were to be run.
        repeats: How often each.
        judges: The version of each judge, by its name.
        source: Digest of the source files that the function's package had loaded.
        start_ns: When it began, nanoseconds since the epoch (UTC).
        page: The address of its page; empty where there is none.
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
    """One run over an item: its output and its scores.

    Attributes:
        item: The item's id.
        digest: The item's digest.
        repeat: Which one of several runs over the item, from 0.
        outputs: What the function returned; None where it failed.
        outcome: ok or error.
        error_type: What was raised.
        error: Its type and message.
        latency_ms: How long the function took.
        run_id: Empty where nothing was recorded.
        judgements: What judges said, by their names; a failed run is not judged.
        tags: Of the item.
        source_run: Of the item.
        source_session: Of the item.
        cost: What it cost; None where that is not known.
        inputs: Of the item; a file that keeps a result has none.
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
        """The scores that judges gave, by their names."""
        return {
            name: judgement.score
            for name, judgement in self.judgements.items()
            if judgement.score is not None
        }

    @property
    def passed(self) -> bool | None:
        """Whether all judges let it pass; None where none said so. A failed run has not."""
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
    """Write an experiment into a file: a line about it, then one for each run, sorted by item."""
    head = {"format": _FORMAT, "kind": _KIND, **asdict(experiment)}
    lines = [head, *(_line(run) for run in sorted(runs, key=lambda run: (run.item, run.repeat)))]
    with Path(path).open("wb") as file:
        file.writelines(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)


def read_file(path: str | os.PathLike[str]) -> tuple[Experiment, list[ItemRun]]:
    """Read what `write_file` wrote.

    Raises:
        ValueError: It is no such file.
        OSError: It cannot be read.
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
    """Return runs by the id and the digest of their item, each in the order of its repeats."""
    item_runs: dict[tuple[str, str], list[ItemRun]] = {}
    for run in sorted(runs, key=lambda run: run.repeat):
        item_runs.setdefault((run.item, run.digest), []).append(run)
    return item_runs


@dataclass(frozen=True, slots=True)
class RejudgedRun:
    """A stored run and its scores by two versions of a judge.

    Attributes:
        run_id: Its id.
        start_ns: When it began, nanoseconds since the epoch.
        cluster: Its session, else its trace: what it hangs together with.
        before: What the version to compare with said; None where it said nothing.
        after: What this version says.
        is_stored: Whether the store had that already.
    """

    run_id: str
    start_ns: int
    cluster: str
    before: JudgeScore | None
    after: Judgement
    is_stored: bool = False

    @property
    def turn(self) -> str:
        """`to fail` or `to pass` where the two differ in it; else empty."""
        if self.before is None or None in (self.before.passed, self.after.passed):
            return ""
        if self.before.passed == self.after.passed:
            return ""
        return "to pass" if self.after.passed else "to fail"
