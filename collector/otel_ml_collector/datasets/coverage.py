"""What production a data set stands for: of each slice of runs how many items are like it."""

from collections.abc import Sequence
from typing import Final

from otel_ml.records import CoveredSlice, DatasetCoverage
from otel_ml.statistics.verdict import LEAST_ITEMS
from otel_ml_collector.datasets.find import LINES, count_stored, make_version, version_row
from otel_ml_collector.experiments.find import find_experiments
from otel_ml_collector.owners import own_dataset
from otel_ml_collector.stats import StatsQuery, list_groups, make_question
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.runs import Window
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.targets import TAG_TEXT
from otel_ml_collector.times import DAY_NS, to_rfc3339
from otel_ml_collector.web import view

_DAYS: Final = 28
_EXPERIMENTS: Final = 6
_MODELS: Final = 6
_TAGS: Final = 5
_SLICES: Final = 10
_SMALLEST: Final = 0.01

# A row of each item that has tags.
_TAGGED: Final = Sql("""
    SELECT digest, tags FROM (SELECT right(line, 64) AS digest FROM ({lines})) AS line
    INNER JOIN (
      SELECT digest, tags FROM items
      WHERE project = {project:String} AND tags NOT IN ('', '{}')
        AND digest IN (SELECT right(line, 64) FROM ({lines}))
      ORDER BY digest, rank DESC LIMIT 1 BY digest
    ) AS content USING (digest)""").fill(lines=LINES)
_NAMES: Final = Sql("""
    SELECT name, count() AS items FROM ({tagged}) ARRAY JOIN JSONExtractKeys(tags) AS name
    WHERE match(name, '^[^"\\\\\\\\]{1,200}$')
    GROUP BY name ORDER BY items DESC, name LIMIT {most}""").fill(tagged=_TAGGED, most=_TAGS)
_COUNTS: Final = Sql("""
    SELECT tag.1 AS name, {text} AS value, count() AS items
    FROM ({tagged}) ARRAY JOIN JSONExtractKeysAndValuesRaw(tags) AS tag
    WHERE name IN {names:Array(String)} AND value IN {values:Array(String)}
    GROUP BY name, value""").fill(text=TAG_TEXT.fill(value=Sql("tag.2")), tagged=_TAGGED)
# The models of recorded runs that items were made of.
_SOURCES: Final = Sql("""
    SELECT model, count() AS runs FROM runs
    WHERE project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
      AND model != '' AND (trace_id, span_id) IN (
        SELECT toFixedString(unhex(left(source_run, 32)), 16),
          toFixedString(unhex(right(source_run, 16)), 8)
        FROM items WHERE project = {project:String} AND source_run != ''
          AND digest IN (SELECT right(line, 64) FROM ({lines})))
    GROUP BY model ORDER BY runs DESC, model LIMIT {most}""").fill(lines=LINES, most=_MODELS)


def find_coverage(
    reader: Reader, project: str, name: str, number: int, now_ns: int
) -> DatasetCoverage:
    """Say what production a version of a data set stands for.

    Raises:
        Missing: There is no such version.
    """
    row = version_row(reader, project, name, number)
    end_ns = (now_ns // DAY_NS + 1) * DAY_NS  # of whole days the rollup knows the total
    window = Window(end_ns - _DAYS * DAY_NS, end_ns)
    asked = {"project": project, "owners": [own_dataset(name, row["digest"])]}
    models = _find_models(reader, project, name, now_ns)
    if not models:
        told = reader.rows(_SOURCES, {**asked, "start": window.start_ns, "end": window.end_ns})
        models = [one["model"] for one in told]
    among = " or ".join(f"model == {view.quoted(model)}" for model in models)
    runs, found = 0, []
    if models and (tags := [one["name"] for one in reader.rows(_NAMES, asked)]):
        [(_, runs)] = _count(reader, project, among, "", window) or [("", 0)]
        found = [
            (tag, value, count)
            for tag in tags
            for value, count in _count(reader, project, among, f'tags["{tag}"]', window)
            if value and count >= _SMALLEST * runs
        ]
    values = {"names": [tag for tag, *_ in found], "values": [value for _, value, _ in found]}
    counted = reader.rows(_COUNTS, asked | values) if found else []
    items = {(one["name"], one["value"]): one["items"] for one in counted}
    whole = make_version(row, count_stored(reader, project, [row])).items
    return DatasetCoverage(
        name=name,
        version=number,
        models=models,
        start_time=to_rfc3339(window.start_ns),
        end_time=to_rfc3339(window.end_ns),
        runs=runs,
        items=whole,
        slices=[
            CoveredSlice(
                tag=tag,
                value=value,
                where=view.narrow(among, f"tags[{view.quoted(tag)}] == {view.quoted(value)}"),
                runs=count,
                run_share=count / runs,
                items=like,
                item_share=like / whole if whole else 0.0,
                enough="enough" if like >= LEAST_ITEMS else "few" if like else "no item",
            )
            for tag, value, count in found
            for like in (items.get((tag, value), 0),)
        ],
    )


def _find_models(reader: Reader, project: str, name: str, now_ns: int) -> list[str]:
    """Find the models that the last experiments on a data set tried, the newest first."""
    where = f"dataset == {view.quoted(name)}"
    last = find_experiments(reader, project, now_ns, where=where, limit=_EXPERIMENTS).experiments
    return [*dict.fromkeys(one.function for one in last if one.function)]


def _count(
    reader: Reader, project: str, where: str, group: str, window: Window
) -> Sequence[tuple[str, int]]:
    """Count production's runs by group, the largest ones first."""
    query = StatsQuery(project, where, group, window, window.end_ns - window.start_ns, _SLICES)
    rows = list_groups(reader, make_question(reader, query), _SLICES)
    return [(row["label"], row["number"]) for row in rows]
