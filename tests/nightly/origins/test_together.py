"""One trace contains the records of all three original APIs."""

from pathlib import Path
from typing import Final

from tests.support.collector import CollectorProcess
from tests.support.origins.program import run

TOGETHER: Final = """
import numpy as np

import otel_ml.compat.raymon.types as rt
from otel_ml.compat.bighummingbird import BigHummingbird
from otel_ml.compat.bighummingbird.judge import Judge
from otel_ml.compat.raymon import RaymonAPILogger, Tag, Trace

bhb = BigHummingbird("together", None)
logger = RaymonAPILogger(project_id="together")

def scoring_rubric(outputs):
    return outputs

judge_tag = bhb.add_judge(Judge("sum", "Is the sum", scoring_rubric, lambda score: score > 2))

@bhb.assess(judge_tag)
def model(input_a, input_b):
    trace = Trace(logger=logger, trace_id="order-1")
    trace.info("adding")
    trace.tag([Tag(name="client", value="acme", type="label")])
    trace.log(ref="terms", data=rt.Numpy(np.array([input_a, input_b])))
    trace.run.log_metrics({"terms": 2})
    return input_a + input_b

model(1, 2)
"""


def test_one_trace_carries_all_three(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """A judged call that opens a trace with text, tags, data and metrics is one trace."""
    run(tmp_path, TOGETHER, own_collector)
    call, trace = own_collector.get("/traces/order-1")["runs"]
    assert trace["parent_run_id"] == call["run_id"]
    assert (call["model"], call["version"], call["scores"], call["passed"]) == (
        "model",
        1,
        {"sum": 3.0},
        {"sum": True},
    )
    told = own_collector.get(f"/projects/together/runs/{trace['run_id']}")
    assert (told["trace_key"], told["tags"]) == ("order-1", {"client": "acme"})
    assert (told["metrics"], [line["message"] for line in told["logs"]]) == (
        {"terms": 2.0},
        ["adding"],
    )
    [terms] = own_collector.get("/projects/together/objects", trace_id="order-1")["objects"]
    assert (terms["ref"], terms["run_id"]) == ("terms", trace["run_id"])


def test_one_page_shows_them(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """The page of the trace's run shows its text, tags, data, metrics and the judged call."""
    run(tmp_path, TOGETHER, own_collector)
    call, trace = own_collector.get("/traces/order-1")["runs"]
    page = own_collector.get_text(f"/projects/together/runs/{trace['run_id']}")
    shown = ("adding", "client", "acme", "terms", "order-1", call["run_id"])
    assert [text for text in shown if text not in page] == []
