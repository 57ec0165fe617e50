"""The two snippets of BigHummingbird's text, as files that are edited between runs."""

from pathlib import Path
from typing import Any

from tests.support.collector import CollectorProcess
from tests.support.scripts import run_script

TRACE = """
API_KEY = None
from otel_ml.compat.bighummingbird import BigHummingbird
bhb = BigHummingbird("Concept Project", API_KEY)

# Add the trace decorator
@bhb.trace
def model(input_a, input_b):
  # Your model here
  # GPT-4 text generation
  # summarization
  # translation
  # sentiment analysis
  return input_a + input_b

model(1, 2)
"""

ASSESS = """
API_KEY = None
from otel_ml.compat.bighummingbird import BigHummingbird
from otel_ml.compat.bighummingbird.judge import Judge

bhb = BigHummingbird("Quick Start", API_KEY)

def scoring_rubric(outputs):
    # This is important. All necessary imports must be done here.
    import random
    return random.randint(1, 10)

def passing_criteria(score):
    return score > 5

judge = Judge(
    "random-judge",
    "This judge will return a random score between 1 to 10",
    scoring_rubric,
    passing_criteria,
)
judge_tag = bhb.add_judge(judge)

@bhb.assess(judge_tag)
def model(input_a, input_b):
  # Your model here
  # GPT-4 text generation
  # summarization
  # translation
  # sentiment analysis
  return input_a + input_b

model(1, 2)
"""


def newest(collector: CollectorProcess, project: str) -> dict[str, Any]:
    """The last run of a project, with everything that is known of it."""
    [run, *_] = collector.runs(project, limit=1)
    detail: dict[str, Any] = collector.get(f"/runs/{run['run_id']}")
    return detail


def edit(script: Path, old: str, new: str) -> None:
    text = script.read_text()
    assert old in text
    script.write_text(text.replace(old, new))


def test_trace_snippet_and_its_versions(collector: CollectorProcess, tmp_path: Path) -> None:
    """An edited model is v2, the old code is v1 again, a renamed one is a new model's v1."""
    script = tmp_path / "model.py"
    script.write_text(TRACE)
    seen = []
    edits = [
        ("", ""),
        ("input_a + input_b", "input_a - input_b"),
        ("input_a - input_b", "input_a + input_b"),
        ("# translation", "# translation, and a comment that grew"),
        ("model(", "renamed("),
    ]
    for old, new in edits:
        edit(script, old, new)
        run_script(script, collector)
        run = newest(collector, "Concept Project")
        seen.append((run["model"], run["version"], run["outputs"]))
    assert seen == [
        ("model", 1, 3),
        ("model", 2, -1),
        ("model", 1, 3),
        ("model", 1, 3),
        ("renamed", 1, 3),
    ]
    versions = collector.get("/projects/Concept%20Project/models/model/versions")["versions"]
    assert [(one["version"], one["runs"]) for one in versions] == [(2, 1), (1, 3)]


def test_trace_snippet_records_the_call(collector: CollectorProcess, tmp_path: Path) -> None:
    """The run has inputs by name, the output, a latency, and the source of its version."""
    script = tmp_path / "model.py"
    script.write_text(TRACE.replace("Concept Project", "One Call"))
    run_script(script, collector)
    [summary] = collector.runs("One Call")
    run = collector.get(f"/projects/One%20Call/runs/{summary['run_id']}")
    assert run["inputs"] == {"input_a": 1, "input_b": 2}
    assert run["outputs"] == 3
    assert run["outcome"] == "ok"
    assert 0 < run["latency_ms"] < 1000
    version = collector.get("/projects/One%20Call/models/model/versions/1")
    assert version["definition"]["source"].startswith("def model(input_a, input_b):")
    assert version["definition"]["signature"] == "(input_a, input_b)"


def test_assess_snippet_and_the_judges_versions(
    collector: CollectorProcess, tmp_path: Path
) -> None:
    """The judge's score passes by its criterion, and a changed rubric is the judge's v2."""
    script = tmp_path / "model.py"
    script.write_text(ASSESS)
    versions = []
    for old, new in [
        ("", ""),
        ("# This is important.", "# This is still important."),
        ("randint(1, 10)", "randint(1, 9)"),
    ]:
        edit(script, old, new)
        run_script(script, collector)
        [evaluation] = newest(collector, "Quick Start")["evaluations"]
        assert evaluation["judge"] == "random-judge"
        assert 1 <= evaluation["score"] <= 10
        assert evaluation["passed"] == (evaluation["score"] > 5)
        versions.append(evaluation["version"])
    assert versions == [1, 1, 2]
