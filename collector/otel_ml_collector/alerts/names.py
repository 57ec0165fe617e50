"""Finds the judges and tags in a condition that a project does not have yet.

A rule may name them before they arrive, so they are reported and not refused.
"""

from collections.abc import Sequence
from typing import Final

from otel_ml_collector.alerts.conditions import OF_JUDGES, AlertCondition
from otel_ml_collector.alerts.rule import Dimension
from otel_ml_collector.alerts.sentences import VERDICT_FIGURES
from otel_ml_collector.completion import CompletionQuery, find_completion
from otel_ml_collector.errors import suggest
from otel_ml_collector.filter.grammar import comparisons_of, parse
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.findings.slice_truths import TRUTH
from otel_ml_collector.ground_truth.find import read_targets
from otel_ml_collector.judge_budget import RUBRIC_JUDGE
from otel_ml_collector.store.documents import list_documents
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.scores import all_scores
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.windows import Window

# Tags are looked up in the runs of this time, because the tags of all runs take long to read.
_TAGS_NS: Final = 30 * DAY_NS
_LISTED_TAGS: Final = 100
_SCORE_FIELDS: Final = frozenset({"scores", "passed", "failed"})
_JUDGES: Final = Sql("""
    SELECT DISTINCT name FROM (
      SELECT toString(name) AS name FROM model_versions
      WHERE project = {project:String} AND kind = 'judge'
      UNION ALL SELECT toString(judge) AS name FROM ({scores})) ORDER BY name LIMIT 1000""")


def find_unknown(
    reader: Reader,
    project: str,
    condition: AlertCondition,
    now_ns: int,
    *,
    where: str = "",
    by: Sequence[Dimension] = (),
) -> list[str]:
    """Report the judges, scores and tags in a rule that the project does not have yet.

    Args:
        reader: The store.
        project: The project.
        condition: The rule's condition.
        now_ns: The current time.
        where: The filter of the rule.
        by: What the rule groups by.

    Returns:
        A sentence for each; empty if the project has all of them.
    """
    judges = {figure.of for figure in condition.of(OF_JUDGES)}
    compared = {figure.of for figure in condition.of(("worse",))} - VERDICT_FIGURES
    truths = {name for name in compared if name.startswith(TRUTH)}
    judges |= compared - truths
    tags = {dimension.name for dimension in by if dimension.is_tag}
    for text in (where, *(figure.of for figure in condition.of(("share",)))):
        for comparison in comparisons_of(parse(text)):
            key = comparison.field.key
            if key and comparison.field.name in _SCORE_FIELDS:
                judges.add(key)
            elif key and comparison.field.name == "tags":
                tags.add(key)
    sentences = []
    if judges:
        known = _find_judges(reader, project)
        for name in sorted(judges - known):
            hint = f": {suggest(name, known)}" if known else ""
            end = "" if hint.endswith("?") else "."
            sentences.append(f'The project has no judge or score "{name}" yet{hint}{end}')
    if truths:
        known = {
            f"{TRUTH}{target.name}" for part in read_targets(reader, project) for target in part
        }
        sentences += [
            f'The project has no ground truth "{name.removeprefix(TRUTH)}" yet.'
            for name in sorted(truths - known)
        ]
    for name in sorted(tags):
        window = Window(max(now_ns - _TAGS_NS, 0), now_ns)
        query = CompletionQuery(project, f"tags[{quoted(name)[:-1]}", window, _LISTED_TAGS)
        if name not in {item.text for item in find_completion(reader, query).items}:
            sentences.append(f'No recent run has the tag "{name}".')
    return sentences


def _find_judges(reader: Reader, project: str) -> set[str]:
    """Find the names of all judges and scores of a project."""
    kinds = find_record_kinds(reader, project)
    sql = _JUDGES.fill(scores=all_scores(has_keyed=kinds.keyed_scores))
    rows = reader.rows(sql, {"project": project})
    saved = {document.name for document in list_documents(reader, project, RUBRIC_JUDGE)}
    return saved | {row["name"] for row in rows}
