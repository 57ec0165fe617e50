"""Finds the calls that judges made to score a run."""

from dataclasses import dataclass
from typing import Final

from otel_ml.attributes import JUDGE_KIND, JUDGING, JUDGING_RUN
from otel_ml_collector.store.counted import RECORDED
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql

_CALLS_FOR: Final = Sql("""
    SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS run_id,
      JSONExtractString(tags['{judging}']) AS judge, provider_model, cost
    FROM {recorded}
    WHERE project = {project:String} AND kind = '{kind}' AND has(tag_kv, {judged:String})
    ORDER BY start_ns, span_id LIMIT 100""").fill(
    judging=Sql(JUDGING), kind=Sql(JUDGE_KIND), recorded=RECORDED
)


@dataclass(frozen=True, slots=True)
class JudgeCall:
    """A call that a judge made to score a run: its model and cost."""

    run_id: str
    judge: str
    provider_model: str
    cost: float | None


def find_judge_calls(reader: Reader, project: str, run_id: str) -> list[JudgeCall]:
    """Return the first 100 calls that judges made to score a run."""
    parameters = {"project": project, "judged": f"{JUDGING_RUN}={run_id}"}
    return [JudgeCall(**row) for row in reader.rows(_CALLS_FOR, parameters)]
