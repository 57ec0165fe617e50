"""Versions beside another one, as the collector compares them: what results are to experiments."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from otel_ml.experiments.compare import JudgeOutcome
    from otel_ml.statistics.intervals import Estimate


class VersionResult:
    """A version of a model beside its baseline, by recorded runs of both.

    Args:
        side: One of the `sides` of the API's comparison.
        baseline: The reference of the baseline, such as ``answer:v1``.
    """

    def __init__(self, side: Mapping[str, Any], baseline: str) -> None:
        self._version = side["version"]
        self._verdict = self._version["verdict"]
        self.name: str = side["reference"]
        self.baseline = baseline

    @property
    def runs(self) -> int:
        """How many recorded runs it has."""
        return int(self._version["runs"])

    @property
    def errors(self) -> int:
        """How many of these failed."""
        return int(self._version["errors"])

    @property
    def word(self) -> str:
        """The verdict, of the worst judge; empty where both are of different models."""
        return str(self._verdict["word"]) if self._verdict else ""

    @cached_property
    def judges(self) -> Mapping[str, "JudgeOutcome"]:
        """What came of each judge."""
        from otel_ml.experiments.compare import JudgeOutcome  # takes 0.1 s

        return {
            one["judge"]: JudgeOutcome(
                one["digest"],
                one["is_rate"],
                _estimate(one["candidate"]),
                _estimate(one["baseline"]),
                _estimate(one["difference"]),
                one["margin"],
                one["word"],
                "; ".join(one["reasons"]),
                sentence=one["sentence"],
            )
            for one in (self._verdict or {}).get("judges", ())
        }

    @property
    def sentences(self) -> list[str]:
        """What is said by each judge, then of latency, tokens and cost: the words of the page."""
        if not self._verdict:
            return ["there is no verdict on versions of two models"]
        judged = [f"{name}: {one.sentence}" for name, one in self.judges.items()]
        amounts = [f"{one['name']}: {one['sentence']}" for one in self._verdict["amounts"]]
        return [*(judged or ["no judge has spoken of both"]), *amounts]

    def to_json(self) -> str:
        """Return the version with its verdict as JSON text, as the API answers it."""
        return orjson.dumps(self._version, option=orjson.OPT_INDENT_2).decode()

    def to_markdown(self) -> str:
        """Return what is said as a list."""
        lines = [f"**{self.name}** beside {self.baseline}: {self.word or 'no verdict'}", ""]
        return "\n".join([*lines, *(f"* {one}" for one in self.sentences)]) + "\n"

    def __str__(self) -> str:
        """Say what came of it, a line for each judge."""
        lines = [f"{self.name} beside {self.baseline}: {self.word or 'no verdict'}"]
        return "\n".join([*lines, *(f"  {one}" for one in self.sentences)])


def _estimate(told: Mapping[str, Any] | None) -> "Estimate | None":
    from otel_ml.statistics.intervals import Estimate

    if told is None:
        return None
    low = -math.inf if told["low"] is None else told["low"]
    high = math.inf if told["high"] is None else told["high"]
    return Estimate(told["value"], low, high, told["n"], told["clusters"])
