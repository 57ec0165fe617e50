"""Small defects, each one line of product code, and the tests that should detect them.

The last twelve are in functions that no test named when they were chosen: six in pages, six in
statistics and verdicts.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Defect:
    """One defect: a text of a file that another text replaces.

    Attributes:
        name: What a user would notice.
        file: The product file, from the root of the project.
        old, new: The text, which is in the file exactly once, and its replacement.
        packages: Test folders or modules whose unit tests `make test` runs.
        others: Test modules of the other tiers, which CI runs after `make test`.

    Tests are named by their path without the folder of their tier, so a test may change its tier.
    """

    name: str
    file: str
    old: str
    new: str
    packages: tuple[str, ...]
    others: tuple[str, ...]


DEFECTS: Final = (
    Defect(
        name="A span is lost at exit",
        file="otel_ml/export/pipeline.py",
        old="drained = self.drain(timeout_s)",
        new="drained = self._sender.close(0.0) is None  # the thread stops before it sends",
        packages=("otel_ml/export",),
        others=("otel_ml/test_process_end.py",),
    ),
    Defect(
        name="A score is counted twice",
        file="collector/otel_ml_collector/store/scores.py",
        old="AS scored WHERE {where} GROUP BY {by}",
        new="AS scored WHERE {where} GROUP BY {by}, scored.time_ns",
        packages=("otel_ml_collector/mapping", "otel_ml_collector/store"),
        others=("otel_ml_collector/query/test_one_run.py", "otel_ml_collector/query/test_stats.py"),
    ),
    Defect(
        name="A filter ignores `not`",
        file="collector/otel_ml_collector/filter/sql.py",
        old='return Sql("NOT ({part})").fill(part=self.write(tree.part))',
        new='return Sql("({part})").fill(part=self.write(tree.part))',
        packages=("otel_ml_collector/query",),
        others=("otel_ml_collector/query/test_filter.py",),
    ),
    Defect(
        name="A p95 is computed as a p99",
        file="collector/otel_ml_collector/stats.py",
        old="    p50, p90, p95, p99 = read_quantiles(row)\n    return RunFigures(",
        new="    p50, p90, p99, p95 = read_quantiles(row)\n    return RunFigures(",
        packages=("otel_ml_collector/query",),
        others=("otel_ml_collector/query/test_stats.py",),
    ),
    Defect(
        name="A verdict ignores failed calls",
        file="otel_ml/statistics/paired.py",
        old="        if run.is_error:\n            return self.of_failed\n",
        new="        if run.is_error:\n            return None\n",
        packages=("otel_ml/statistics/test_verdict.py",),
        others=("otel_ml_collector/test_experiments.py",),
    ),
    Defect(
        name="A key reads another project",
        file="collector/otel_ml_collector/access.py",
        old='facts["projects"] = None if named == [ALL_PROJECTS] else tuple(named)',
        new='facts["projects"] = None if len(named) == 1 else tuple(named)',
        packages=("otel_ml_collector/test_access.py",),
        others=("otel_ml_collector/serve/test_gate.py", "end_to_end/test_keys.py"),
    ),
    Defect(
        name="A page does not escape its text",
        file="collector/otel_ml_collector/web/render.py",
        old="autoescape=True",
        new="autoescape=False",
        packages=("otel_ml_collector/web",),
        others=("otel_ml_collector/web/test_home.py", "otel_ml_collector/web/test_sessions.py"),
    ),
    Defect(
        name="Retention deletes one day early",
        file="collector/otel_ml_collector/store/retention.py",
        old="max(today_ns - days * DAY_NS, 0)",
        new="max(today_ns - (days - 1) * DAY_NS, 0)",
        packages=("otel_ml_collector/store",),
        others=("otel_ml_collector/test_retention.py",),
    ),
    Defect(
        name="A duplicate appears after `kill -9`",
        file="collector/otel_ml_collector/store/counted.py",
        old='RECORDED: Final = Sql("runs FINAL")',
        new='RECORDED: Final = Sql("runs")',
        packages=("otel_ml_collector/receive", "otel_ml_collector/store"),
        others=("end_to_end/test_durability.py",),
    ),
    Defect(
        name="A version changes with the hash seed",
        file="otel_ml/versions/scopes.py",
        old="return sorted({chain for chain in chains if chain and chain[0] in outside})",
        new="return list({chain for chain in chains if chain and chain[0] in outside})",
        packages=("otel_ml/versions/test_definition.py",),
        others=("otel_ml/versions/test_golden_digests.py",),
    ),
    Defect(
        name="Cached tokens have a wrong price",
        file="collector/otel_ml_collector/mapping/prices.py",
        old="(rates.cached, (usage.cached or 0) - cached_audio)",
        new="(rates.input, (usage.cached or 0) - cached_audio)",
        packages=("otel_ml_collector/mapping/test_prices.py",),
        others=("otel_ml_collector/web/test_cost.py",),
    ),
    Defect(
        name="An alert fires without data",
        file="collector/otel_ml_collector/alerts/states.py",
        old='return JudgedWindow(end_ns, "no data", value, measured.runs, total, distance)',
        new='return JudgedWindow(end_ns, "bad", value, measured.runs, total, distance)',
        packages=("otel_ml_collector/alerts/test_states.py",),
        others=("otel_ml_collector/alerts/test_evaluation.py",),
    ),
    Defect(
        name="The links to the newer and the older run are swapped",
        file="collector/otel_ml_collector/traces/page.py",
        old="for newest_first in (False, True)",
        new="for newest_first in (True, False)",
        packages=("otel_ml_collector/web",),
        others=("test_run_page.py",),
    ),
    Defect(
        name="A labelling queue shows a skipped run again",
        file="collector/otel_ml_collector/queues/pages.py",
        old="skip=[*wanted.skip, state.run.run_id][-_MOST_SKIPPED:]",
        new="skip=[state.run.run_id][-_MOST_SKIPPED:]",
        packages=("otel_ml_collector/query/test_queue_form.py",),
        others=("otel_ml_collector/api/test_queues.py", "test_labelling.py"),
    ),
    Defect(
        name="Width and height of a JPEG are swapped",
        file="collector/otel_ml_collector/web/images.py",
        old="height, width = content[at + 5 : at + 7], content[at + 7 : at + 9]",
        new="width, height = content[at + 5 : at + 7], content[at + 7 : at + 9]",
        packages=("otel_ml_collector/query/test_image_head.py",),
        others=("otel_ml_collector/query/test_objects.py",),
    ),
    Defect(
        name="A part after the end of a list is empty",
        file="collector/otel_ml_collector/web/view.py",
        old="first = max(len(items) - 1, 0) // size * size",
        new="first = len(items) // size * size",
        packages=("otel_ml_collector/web",),
        others=("otel_ml_collector/web/test_judges.py", "otel_ml_collector/web/test_artifacts.py"),
    ),
    Defect(
        name="The last bar of a quality chart exceeds the chart",
        file="collector/otel_ml_collector/quality/pages.py",
        old="return min(step, 100 - _place(quality, point))",
        new="return step",
        packages=("otel_ml_collector/web",),
        others=("otel_ml_collector/quality/test_pages.py",),
    ),
    Defect(
        name="A reader mutes an alert in the name of another",
        file="collector/otel_ml_collector/alerts/pages.py",
        old="who=access.name or form.who",
        new="who=form.who or access.name",
        packages=("otel_ml_collector/alerts",),
        others=("otel_ml_collector/alerts/test_pages.py", "otel_ml_collector/web/test_sign_in.py"),
    ),
    Defect(
        name="A p-value of a rare error is half of the true one",
        file="otel_ml/statistics/intervals.py",
        old="return min(2 * tail / every, 1.0)",
        new="return min(tail / every, 1.0)",
        packages=("otel_ml/statistics/test_slices.py",),
        others=("otel_ml_collector/monitor/test_slices.py",),
    ),
    Defect(
        name="A drift finding states twice the share of changed values",
        file="otel_ml/statistics/field_drift.py",
        old="abs(_gain(value, before, after)) for value in values)) / 2",
        new="abs(_gain(value, before, after)) for value in values))",
        packages=("otel_ml/statistics/test_fields.py", "otel_ml/statistics/test_drift.py"),
        others=("otel_ml_collector/monitor/test_fields.py",),
    ),
    Defect(
        name="Ranks count equal answers twice",
        file="otel_ml/statistics/agreement.py",
        old="places[value] = below + totals[value] / 2",
        new="places[value] = below + totals[value]",
        packages=("otel_ml/statistics/test_oracles.py",),
        others=("otel_ml_collector/api/test_agreement.py",),
    ),
    Defect(
        name="A percentile is one value too high",
        file="otel_ml/statistics/intervals.py",
        old="place = p * (len(ordered) - 1)",
        new="place = p * len(ordered)",
        packages=("otel_ml/statistics/test_oracles.py",),
        others=("otel_ml_collector/test_experiments.py",),
    ),
    Defect(
        name="The type of a field follows the number of hours, not of values",
        file="otel_ml/statistics/sketches.py",
        old="sizes[sketch.kind] += sketch.n",
        new="sizes[sketch.kind] += 1",
        packages=("otel_ml/statistics/test_fields.py", "otel_ml/statistics/test_distances.py"),
        others=("otel_ml_collector/monitor/test_profiles.py",),
    ),
    Defect(
        name="The smallest change decides a comparison",
        file="collector/otel_ml_collector/verdicts/verdicts.py",
        old="key=lambda it: (WORST_FIRST.index(it.word), -it.size)",
        new="key=lambda it: (WORST_FIRST.index(it.word), it.size)",
        packages=("otel_ml_collector/test_verdict_lines.py", "otel_ml_collector/test_claims.py"),
        others=("otel_ml_collector/test_comparison.py",),
    ),
)
