"""Judges 1,500 calls from eight threads; prints which have no score of their own, and trouble."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from otel_ml import Judge
from otel_ml.errors import trouble
from tests.otel_ml.recording import Recording, attributes, parent_id, span_id

CALLS = 1_500


def main() -> None:
    recording = Recording()
    judge = Judge("same", "repeats the output", lambda outputs: outputs)
    traced = recording.client.assess(judge)(lambda a: a)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(traced, range(CALLS)))
    scores = {
        span_id(span): attributes(span).get("otel_ml.score.same") for span in recording.runs()
    }
    for record in recording.records("evaluation"):
        scores[parent_id(record) or 0] = attributes(record).get("otel_ml.score.value")
    outputs = {span_id(span): attributes(span)["otel_ml.outputs"] for span in recording.runs()}
    wrong = [text for run, text in outputs.items() if scores[run] != float(text)]
    told = {"runs": len(outputs), "wrong": wrong, "trouble": trouble()}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
