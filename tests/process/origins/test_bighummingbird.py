"""The two snippets of BigHummingbird's text, run as files that are edited between runs."""

from pathlib import Path
from typing import Any

from tests.support.collector import CollectorProcess
from tests.support.origins.program import preamble, run, snippet
from tests.support.sampling import at_night

TRACE = preamble("a") + snippet("a1_trace")
ASSESS = preamble("a") + snippet("a2_judge") + "\nmodel(1, 2)\n"
PLAIN = "# translation"


def newest(collector: CollectorProcess, project: str) -> dict[str, Any]:
    """Return the details of a project's newest run."""
    [summary, *_] = collector.runs(project, limit=1)
    detail: dict[str, Any] = collector.get(f"/runs/{summary['run_id']}")
    return detail


def edited(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def test_trace_snippet_and_its_versions(collector: CollectorProcess, tmp_path: Path) -> None:
    """An edited model is v2, the restored code is v1 again, and a renamed model is a new v1."""
    seen = []
    text = TRACE
    for old, new in [
        ("", ""),
        ("input_a + input_b", "input_a - input_b"),
        ("input_a - input_b", "input_a + input_b"),
        (PLAIN, f"{PLAIN}, and a comment that grew"),
        ("model(", "renamed("),
    ]:
        text = edited(text, old, new)
        assert run(tmp_path, text, collector) == ""
        last = newest(collector, "Concept Project")
        seen.append((last["model"], last["version"], last["outputs"]))
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
    """The run has inputs by name, the output, a latency, and its version's source."""
    run(tmp_path, edited(TRACE, "Concept Project", "One Call"), collector)
    found = newest(collector, "One Call")
    told = ("model", "version", "kind", "inputs", "outputs", "outcome", "scores", "tags")
    assert {key: found[key] for key in told} == {
        "model": "model",
        "version": 1,
        "kind": "model",
        "inputs": {"input_a": 1, "input_b": 2},
        "outputs": 3,
        "outcome": "ok",
        "scores": {},
        "tags": {},
    }
    assert 0 < found["latency_ms"] < 1000
    version = collector.get("/projects/One%20Call/models/model/versions/1")
    assert version["definition"]["source"].startswith("def model(input_a, input_b):")
    assert version["definition"]["signature"] == "(input_a, input_b)"


@at_night
def test_other_signature_or_output_is_another_version(
    collector: CollectorProcess, tmp_path: Path
) -> None:
    """A version depends on signature and output structure, not only on the source."""
    versions = []
    text = edited(TRACE, "Concept Project", "Parts")
    for old, new in [
        ("", ""),
        ("input_b):", "input_b=2):"),
        ("return input_a + input_b", "return ANSWER"),
        ("API_KEY = None", "API_KEY, ANSWER = None, {'sum': 3}"),
        ("{'sum': 3}", "{'total': 3}"),
    ]:
        text = edited(text, old, new)
        if "ANSWER" not in text or "{" in text:
            run(tmp_path, text, collector)
            versions.append(newest(collector, "Parts")["version"])
    assert versions == [1, 2, 3, 4]


@at_night
def test_assess_snippet_and_the_judges_versions(
    collector: CollectorProcess, tmp_path: Path
) -> None:
    """A score passes by the judge's criteria, and a changed rubric is a new judge version."""
    versions = []
    text = ASSESS
    for old, new in [
        ("", ""),
        ("# This is important.", "# This is still important."),
        ("    return score > 5", "\n    return  score > 5"),
        ("randint(1, 10)", "randint(1, 9)"),
        ("score > 5", "score > 6"),
        ("randint(1, 9)", "randint(1, 10)"),
        ("score > 6", "score > 5"),
    ]:
        text = edited(text, old, new)
        assert run(tmp_path, text, collector) == ""
        [evaluation] = newest(collector, "Quick Start")["evaluations"]
        assert (evaluation["judge"], evaluation["error"]) == ("random-judge", "")
        assert 1 <= evaluation["score"] <= 10
        assert evaluation["passed"] == (evaluation["score"] > (6 if "score > 6" in text else 5))
        versions.append(evaluation["version"])
    assert versions == [1, 1, 1, 2, 3, 4, 1]
