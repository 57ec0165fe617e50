"""Run otel-ml, MLflow or pydantic-evals over all cases and print its results as JSON.

Arguments: the name of one of the three, and a folder for its storage. It runs with the interpreter
of an environment that has it. otel-ml delivers to the collector in ``OTEL_ML_ENDPOINT``.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version as version_of
from typing import Any, Final

from tests.bench.evals_cases import CASES, CONCURRENCY, ITEMS, JUDGE, Case, expected

_WARM_ITEMS: Final = 20


@dataclass(frozen=True, slots=True)
class Said:
    """A tool's report about versions A and B.

    Attributes:
        rates: The reported pass rates of both; None if not reported.
        counted: The number of items behind each rate.
        not_passed: How many items of B with a failed call or score count as not passed.
        left_out: How many of those items do not count.
        verdict: The verdict in one word, or its closest equivalent.
        difference: B minus A, as reported.
        interval: The 95 % interval of the difference.
        pairs: The number of items behind the difference.
        words: Everything else a reader is shown.
        ended_by: The exception that ended the evaluation; empty if it finished.
        took_s: How long both versions and their comparison took.
    """

    rates: tuple[float | None, float | None] = (None, None)
    counted: tuple[int, int] = (0, 0)
    not_passed: int = 0
    left_out: int = 0
    verdict: str = ""
    difference: float | None = None
    interval: tuple[float, float] | None = None
    pairs: int | None = None
    words: str = ""
    ended_by: str = ""
    took_s: float = 0.0


Run = Callable[[Case, int], Said]


class Ended(Exception):
    """A tool raised an exception instead of evaluating; has its message."""


def _whole(evaluate: Callable[[], Any]) -> Any:
    """Return the result of an evaluation.

    Raises:
        Ended: The evaluation raised; has the first line of its message.
    """
    try:
        return evaluate()
    except Exception as error:
        line = str(error).partition("\n")[0]
        raise Ended(f"{type(error).__name__}: {line}") from error


def _count(values: Mapping[int, bool | None], case: Case, items: int) -> tuple[int, int]:
    """Count the failed items that are counted as not passed, and those that are left out.

    Args:
        values: The score of each item of version B; None or missing if it has no score.
        case: Which items fail.
        items: How many items there are.
    """
    failing = [one for one in case.failing_calls | case.failing_scores if one < items]
    found = [values.get(number) for number in failing]
    return found.count(False), found.count(None)


def _counted(before: Mapping[int, bool | None], now: Mapping[int, bool | None]) -> tuple[int, int]:
    """Count the items with a score, for each version."""
    a, b = (sum(one is not None for one in values.values()) for values in (before, now))
    return a, b


def _otel_ml(_folder: str) -> Run:
    from otel_ml import Client, Dataset

    client = Client("evals")

    def run(case: Case, items: int) -> Said:
        rows = [
            {"id": f"{number}", "inputs": {"number": number}, "expected": expected(number)}
            for number in range(items)
        ]
        dataset = Dataset("squares", rows)

        def exact(number: int, outputs: str, expected: str) -> bool:
            return case.score(number, outputs, expected)

        def version_a(number: int) -> str:
            return case.answer_a(number)

        def version_b(number: int) -> str:
            return case.answer_b(number)

        options: dict[str, Any] = {"judges": [exact], "concurrency": CONCURRENCY}
        before = _whole(lambda: client.evaluate(version_a, dataset, **options))
        now = _whole(lambda: client.evaluate(version_b, dataset, baseline=before, **options))
        client.flush(60)
        found = now.judges[JUDGE]
        difference = found.difference
        alone = before.judges[JUDGE]
        values = {int(run.item): run.passed for run in now.runs}
        not_passed, left_out = _count(values, case, items)
        return Said(
            rates=(alone.rate, found.rate),
            counted=(alone.value.n, found.value.n),
            not_passed=not_passed,
            left_out=left_out,
            verdict=now.verdict,
            difference=None if difference is None else difference.value,
            interval=None if difference is None else (difference.low, difference.high),
            pairs=None if difference is None else difference.n,
            words="; ".join([found.sentence, *now.notes]),
        )

    return run


def _mlflow(folder: str) -> Run:
    # Send no usage statistics, draw no progress bar, do not limit calls to 10 per second.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
    os.environ["TQDM_DISABLE"] = "1"
    os.environ["MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT"] = "0"
    os.environ["MLFLOW_GENAI_EVAL_MAX_WORKERS"] = str(CONCURRENCY)
    import mlflow
    import mlflow.genai
    from mlflow.genai.scorers import scorer

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("evals")
    summaries = _Warnings("mlflow.genai.evaluation.harness", "Failure summary: ")

    def run(case: Case, items: int) -> Said:
        data = [
            {"inputs": {"number": number}, "expectations": {"expected": expected(number)}}
            for number in range(items)
        ]

        @scorer  # type: ignore[untyped-decorator]  # Any where types are checked
        def exact(inputs: dict[str, int], outputs: str, expectations: dict[str, str]) -> bool:
            return case.score(inputs["number"], outputs, expectations["expected"])

        def version_a(number: int) -> str:
            return case.answer_a(number)

        def version_b(number: int) -> str:
            return case.answer_b(number)

        summaries.told.clear()
        before, now = (
            _whole(partial(mlflow.genai.evaluate, data, [exact], version))
            for version in (version_a, version_b)
        )
        compared = mlflow.genai.compare_evaluations(now.run_id, before.run_id)
        found = compared.scorers[JUDGE]
        try:
            compared.assert_improved()
            verdict = "improved"
        except AssertionError:
            verdict = "not improved"
        values = [_mlflow_values(one.result_df) for one in (before, now)]
        words = [
            f"{found.method}: p = {found.p_value:.2g}, {found.n_paired} pairs",
            f"passed: {before.passed} of A, {now.passed} of B",
            *summaries.told,
        ]
        not_passed, left_out = _count(values[1], case, items)
        return Said(
            rates=(before.metrics[f"{JUDGE}/mean"], now.metrics[f"{JUDGE}/mean"]),
            counted=_counted(*values),
            not_passed=not_passed,
            left_out=left_out,
            verdict=verdict,
            difference=found.diff,
            interval=(found.ci_low, found.ci_high),
            pairs=found.n_paired,
            words="; ".join(words),
        )

    return run


def _mlflow_values(frame: Any) -> dict[int, bool | None]:
    """Return the score of each item, None if it has none."""
    found: dict[int, bool | None] = {}
    for row in frame.to_dict("records"):
        value = row[f"{JUDGE}/value"]
        number = row["request"]["number"]
        found[number] = value if isinstance(value, bool) else None
    return found


class _Warnings(logging.Handler):
    """Keeps the end of each warning of a logger that contains a mark."""

    def __init__(self, logger: str, mark: str) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []
        self._mark = mark
        logging.getLogger(logger).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the sentence that follows the mark."""
        _, mark, rest = record.getMessage().partition(self._mark)
        if mark:
            self.told.append(rest.partition(". ")[0])


def _pydantic_evals(_folder: str) -> Run:
    from pydantic_evals import Case as Row
    from pydantic_evals import Dataset
    from pydantic_evals.evaluators import Evaluator

    def run(case: Case, items: int) -> Said:
        class Exact(Evaluator[int, str, None]):  # type: ignore[misc]  # Any where types are checked
            def evaluate(self, ctx: Any) -> bool:
                return case.score(ctx.inputs, ctx.output, ctx.expected_output)

        rows = [
            Row(name=f"{number}", inputs=number, expected_output=expected(number))
            for number in range(items)
        ]
        dataset = Dataset(name="squares", cases=rows, evaluators=[Exact()])

        def version_a(number: int) -> str:
            return case.answer_a(number)

        def version_b(number: int) -> str:
            return case.answer_b(number)

        options: dict[str, Any] = {"max_concurrency": CONCURRENCY, "progress": False}
        before, now = (
            _whole(partial(dataset.evaluate_sync, version, **options))
            for version in (version_a, version_b)
        )
        rendered = now.render(width=100, baseline=before, include_durations=False)
        averages = [line for line in rendered.splitlines() if "Averages" in line]
        values = [
            {
                one.inputs: next((each.value for each in one.assertions.values()), None)
                for one in report.cases
            }
            for report in (before, now)
        ]
        failed = sum(bool(one.evaluator_failures) for one in now.cases)
        words = [
            " ".join(averages[-1].replace("│", " ").split()) if averages else "no averages",
            f"failures of B: {len(now.failures)}; cases of B with a failed evaluator: {failed}",
        ]
        not_passed, left_out = _count(values[1], case, items)
        return Said(
            rates=(before.averages().assertions, now.averages().assertions),
            counted=_counted(*values),
            not_passed=not_passed,
            left_out=left_out,
            words="; ".join(words),
        )

    return run


CONTENDERS: Final[Mapping[str, Callable[[str], Run]]] = {
    "otel-ml": _otel_ml,
    "mlflow": _mlflow,
    "pydantic-evals": _pydantic_evals,
}


def main(name: str, folder: str) -> None:
    """Run all cases. A few items run first to load modules and create tables."""
    run = CONTENDERS[name](folder)
    run(CASES["nothing fails"], _WARM_ITEMS)
    found = {}
    for title, case in CASES.items():
        began = time.perf_counter()
        try:
            said = run(case, ITEMS)
        except Ended as ended:
            said = Said(ended_by=str(ended))
        found[title] = asdict(replace(said, took_s=time.perf_counter() - began))
    print(json.dumps({"version": version_of(name), "said": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
