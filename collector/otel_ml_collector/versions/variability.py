"""How consistently a model answers the same input, for pages, API, reader and CLI."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import Field

from otel_ml.attributes import RECORDED
from otel_ml.records import ListedExperiment
from otel_ml.statistics.comparison import Method
from otel_ml.statistics.sentences import FigureText, list_reasons, write_comparison
from otel_ml.statistics.variability import (
    RepeatedInput,
    compare_variability,
    estimate_variability,
)
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import Missing
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.runs.logs import add_contents
from otel_ml_collector.store.experiments import item_parameters
from otel_ml_collector.store.reader import Reader, Row, run_id_of
from otel_ml_collector.store.variability import (
    AnsweredInputs,
    InputAnswers,
    read_item_answers,
    read_shown,
    read_version_answers,
)
from otel_ml_collector.store.versions import read_versions, version_numbers
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.verdicts.verdicts import Interval, JudgeVersionName

# Limits per version and in all. Without them the answer would load all payloads into memory.
MOST_RUNS: Final = 10_000
_MOST_IN_ALL: Final = 20_000
MOST_VERSIONS: Final = 8
GROUPS: Final = 20
MOST_GROUPS: Final = 100
MOST_OF_ITEMS: Final = 50_000
_MOST_ANSWERS: Final = 5


class ScoreSpread(JudgeVersionName):
    """Mean difference between a judge's scores of two runs of one input."""

    spread: Interval = Field(
        description="Mean over all inputs of how much the scores of one input differ"
    )


class AnswerVariability(AnswerBody):
    """How consistent the answers to the same inputs are."""

    runs: int = Field(description="Number of runs that were read, newest first")
    left_out: dict[str, int] = Field(
        description="Number of these runs that are left out, by reason"
    )
    is_cut: bool = Field(description="Whether there may be more runs than were read")
    inputs: int = Field(description="Number of inputs that were answered several times")
    repeated: int = Field(description="Number of runs that have these inputs")
    differing: Interval | None = Field(
        description="Share of these inputs that have different answers. The more runs per input, "
        "the larger it is"
    )
    agreement: Interval | None = Field(
        description="Probability that two runs of one input give the same answer: mean over inputs"
    )
    spreads: list[ScoreSpread]


class VersionVariability(AnswerVariability):
    """The variability of a version of a model."""

    version: int


class VariabilityComparison(AnswerBody):
    """Which of two versions answers the same input more consistently."""

    version: int
    against: int
    word: str = Field(description="Steadier, less steady, no difference or not enough data")
    sentence: str
    text: FigureText = Field(exclude=True, description="The parts of the sentence")
    before: Interval = Field(description="Agreement of the version that `against` names")
    after: Interval
    difference: Interval
    is_paired: bool = Field(
        description="Whether the comparison includes only inputs that both versions answered "
        "several times"
    )
    needed: int | None = Field(
        description="Number of inputs that would show the smallest difference that matters with "
        "80 % power"
    )
    reasons: list[str] = Field(
        description="Why there is not enough data, apart from the width of the interval"
    )


class GivenAnswer(AnswerBody):
    """An answer to an input, and the runs that gave it."""

    outputs: str = Field(description="Preview in plain text")
    runs: int
    run_id: str = Field(description="ID of the newest run with this answer")


class InputGroup(AnswerBody):
    """The runs of a version with equal inputs."""

    digest: str = Field(description="Digest of the inputs: the field inputs_digest of a filter")
    inputs: str = Field(description="Preview in plain text")
    runs: int
    answers: list[GivenAnswer] = Field(description="Most frequent first, at most 5")
    different: int = Field(description="Number of different answers")
    agreement: float = Field(description="Probability that two of its runs give the same answer")
    where: str = Field(description="Filter that lists the runs with these inputs")


class ModelVariability(AnswerBody):
    """The variability of a model's versions in live runs, with the groups of one version."""

    model: str
    versions: list[VersionVariability] = Field(description="The versions, newest first, at most 8")
    comparison: VariabilityComparison | None = Field(
        description="Comparison of two versions; null unless both have repeated inputs"
    )
    version: int | None = Field(description="Number of the version whose groups are listed")
    groups: list[InputGroup] = Field(
        description="Groups of runs with equal inputs, least consistent first"
    )
    most_runs: int = Field(
        description="Largest number of runs per version that are read, newest first"
    )


class ExperimentVariability(AnswerVariability):
    """The variability of an experiment's repeats, and how it differs from the baseline's."""

    sentence: str = Field(
        description="Comparison with the baseline in one sentence; empty unless both have "
        "repeated runs"
    )
    text: FigureText | None = Field(exclude=True, description="The parts of the sentence")
    word: str = Field(description="Steadier, less steady, no difference, not enough data or empty")
    difference: Interval | None


def find_variability(
    reader: Reader,
    project: str,
    model: str,
    *,
    version: int | None = None,
    against: int | None = None,
    limit: int = GROUPS,
) -> ModelVariability:
    """Find out how consistently the versions of a model answer repeated inputs.

    Two of the versions are also compared with each other. Only production runs are read: the newest
    10,000 of each version, and at most 20,000 in all.

    Args:
        reader: The store.
        project: The project.
        model: Name of the model.
        version: The version to compare. The result lists its groups of runs with equal inputs.
            Default: the newest version with repeated inputs.
        against: The version to compare it with. Default: the previous one with repeated inputs.
        limit: Maximum number of groups.

    Raises:
        Missing: The model or the version does not exist.
    """
    known = sorted({row["number"] for row in read_versions(reader, project, "model", [model])})
    if not known:
        raise Missing(f"Project {project!r} has no version of a model {model!r}")
    chosen = [number for number in (version, against) if number is not None]
    for number in chosen:
        if number not in known:
            raise Missing(f"Model {model!r} has no version {number}")
    wanted = sorted({*known[-MOST_VERSIONS:], *chosen}, reverse=True)
    most = min(MOST_RUNS, _MOST_IN_ALL // len(wanted))
    version_answers = read_version_answers(reader, project, model, wanted, most)
    newest = _NewestScores(reader, project, version_answers.values())
    repeated = {number: newest.repeated(of) for number, of in version_answers.items()}
    after = version or next((number for number in wanted if repeated[number]), None)
    before = against or next(
        (number for number in wanted if after and number < after and repeated[number]), None
    )
    groups: list[InputGroup] = []
    if after:
        where = f"model == {quoted(model)} and version == {after}"
        groups = _list_groups(reader, project, where, version_answers[after].repeated, limit)
    return ModelVariability(
        model=model,
        versions=[
            VersionVariability(
                version=number,
                **newest.describe(version_answers[number], repeated[number], most),
            )
            for number in wanted
        ],
        comparison=_compare(repeated, after, before) if after and before else None,
        version=after,
        groups=groups,
        most_runs=most,
    )


def find_repeats_variability(
    reader: Reader,
    project: str,
    experiment: ListedExperiment,
    baseline: ListedExperiment | None = None,
) -> ExperimentVariability | None:
    """Return how consistent the repeats of an experiment's items are, compared with a baseline.

    Returns:
        None if no item has several runs with outputs.
    """
    sides = [
        part for part in (experiment, baseline) if part is not None and part.run_id != RECORDED
    ]
    repeats_variability = [
        read_item_answers(
            reader, project, item_parameters(project, [side.run_id], side.start_ns), MOST_OF_ITEMS
        )
        for side in sides
    ]
    if not repeats_variability or not repeats_variability[0].repeated:
        return None
    newest = _NewestScores(reader, project, repeats_variability)
    repeated = [newest.repeated(of) for of in repeats_variability]
    change = compare_variability(repeated[1], repeated[0]) if len(sides) > 1 else None
    text = write_comparison(change) if change else None
    return ExperimentVariability(
        **newest.describe(repeats_variability[0], repeated[0], MOST_OF_ITEMS),
        sentence=str(text) if text else "",
        text=text,
        word=change.named_word if change else "",
        difference=Interval.model_validate(change.difference) if change else None,
    )


class _NewestScores:
    """The scores that count: for each judge, those of its newest version that scored the runs."""

    def __init__(self, reader: Reader, project: str, of: Iterable[AnsweredInputs]) -> None:
        scoring = {
            (row["judge"], row["judge_version"])
            for answered in of
            for group in answered.repeated
            for row in group.scores
        }
        self._numbers = version_numbers(reader, project, "judge", {judge for judge, _ in scoring})
        self._newest: dict[str, str] = {}
        for judge, digest in sorted(scoring, key=self._place):
            self._newest[judge] = digest

    def _place(self, version: tuple[str, str]) -> tuple[str, int, str]:
        judge, digest = version
        return judge, self._numbers.get((judge, digest, ""), 0), digest

    def repeated(self, answered: AnsweredInputs) -> dict[Hashable, RepeatedInput]:
        """Return the inputs with several runs, by digest, in the form for the statistics."""
        repeated_inputs: dict[Hashable, RepeatedInput] = {}
        for group in answered.repeated:
            scores: defaultdict[str, list[float]] = defaultdict(list)
            for row in group.scores:
                value = row["passed"] if row["score"] is None else row["score"]
                is_newest = self._newest[row["judge"]] == row["judge_version"]
                if is_newest and not row["failed"] and value is not None and math.isfinite(value):
                    scores[row["judge"]].append(float(value))
            repeated_inputs[group.key] = RepeatedInput([*group.answers.values()], scores)
        return repeated_inputs

    def describe(
        self, answered: AnsweredInputs, repeated: Mapping[Hashable, RepeatedInput], most: int
    ) -> dict[str, Any]:
        """Return the figures of `AnswerVariability`."""
        estimate = estimate_variability(repeated.values())
        spreads = estimate.spreads if estimate else {}
        return {
            "runs": answered.runs,
            "left_out": dict(answered.left_out),
            "is_cut": answered.runs >= most,
            "inputs": estimate.inputs if estimate else 0,
            "repeated": estimate.runs if estimate else 0,
            "differing": estimate and Interval.model_validate(estimate.differing),
            "agreement": estimate and Interval.model_validate(estimate.agreement),
            "spreads": [
                ScoreSpread(
                    judge=judge,
                    version=self._numbers.get((judge, self._newest[judge], "")),
                    digest=self._newest[judge],
                    spread=Interval.model_validate(spread),
                )
                for judge, spread in spreads.items()
            ],
        }


def _compare(
    repeated: Mapping[int, Mapping[Hashable, RepeatedInput]], after: int, before: int
) -> VariabilityComparison | None:
    change = compare_variability(repeated[before], repeated[after])
    if change is None:
        return None
    text = write_comparison(change)
    return VariabilityComparison(
        version=after,
        against=before,
        word=change.named_word,
        sentence=f"v{after} vs v{before}: {text}",
        text=text,
        before=Interval.model_validate(change.baseline.estimate),
        after=Interval.model_validate(change.candidate.estimate),
        difference=Interval.model_validate(change.difference),
        is_paired=change.basis.method is Method.PAIRED,
        needed=change.basis.needed,
        reasons=list_reasons(change),
    )


def _list_groups(
    reader: Reader, project: str, where: str, repeated: Sequence[InputAnswers], limit: int
) -> list[InputGroup]:
    """List runs with equal inputs: the least consistent first, then those with the most runs."""
    agreements = {group.key: RepeatedInput([*group.answers.values()]) for group in repeated}
    ordered = sorted(
        repeated,
        key=lambda group: (agreements[group.key].agreement, -len(group.runs), group.key),
    )[:limit]
    examples = {
        group.key: {row["answer"]: row for row in reversed(group.runs)} for group in ordered
    }
    rows = [
        examples[group.key][answer]
        for group in ordered
        for answer in [*group.answers][:_MOST_ANSWERS]
    ]
    shown = read_shown(reader, project, rows) if rows else {}
    add_contents(reader, project, [*shown.values()])
    groups = []
    for group in ordered:
        answers, newest = group.answers, examples[group.key]

        def preview(row: Row, name: str) -> str:
            return str(shown.get((row["trace_id"], row["span_id"]), {}).get(name, ""))

        of_answers = [
            GivenAnswer(
                outputs=preview(newest[answer], "outputs_preview"),
                runs=count,
                run_id=run_id_of(newest[answer]),
            )
            for answer, count in [*answers.items()][:_MOST_ANSWERS]
        ]
        # The filter names the times of the first and last run, so that no other runs are read.
        first, last = (to_rfc3339(group.runs[place]["start_ns"]) for place in (-1, 0))
        groups.append(
            InputGroup(
                digest=group.key,
                inputs=preview(newest[next(iter(answers))], "inputs_preview"),
                runs=len(group.runs),
                answers=of_answers,
                different=len(answers),
                agreement=agreements[group.key].agreement,
                where=f'{where} and outcome == "ok" and start >= {quoted(first)} '
                f"and start <= {quoted(last)} and inputs_digest == {quoted(group.key)}",
            )
        )
    return groups
