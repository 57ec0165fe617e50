"""A project whose runs a collector judges with a language model on loopback."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_ml_collector.times import DAY_NS
from tests.support.collector import CollectorProcess, running
from tests.support.keys import ask
from tests.support.language_model import LanguageModel
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.waiting import wait_until

SHOP: Final = "shop"
FITS: Final[dict[str, Any]] = {
    "instruction": "Does the answer fit the question?",
    "model": "small",
    "connection": "here",
    "calls_per_minute": 100_000,
}
PRICES: Final = '{"openai": {"small": {"input": 1, "output": 2}}}'
AT_ONCE: Final = '{"quiet_s": 0}'


@dataclass
class JudgedShop:
    """A project in a collector that can call a model."""

    collector: CollectorProcess
    model: LanguageModel
    project: str = SHOP

    def send(self, number: int, *, days_ago: int = 0) -> set[str]:
        request = make_request(self.project, number)
        for span in request.resource_spans[0].scope_spans[0].spans:
            span.start_time_unix_nano -= days_ago * DAY_NS
            span.end_time_unix_nano -= days_ago * DAY_NS
        self.collector.deliver(request.SerializeToString(), PROTOBUF)
        return {*run_ids(request)}

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Any]:
        text = b"" if body is None else json.dumps(body).encode()
        address = f"/api/v1/projects/{self.project}/rubric-judges{path}"
        kind = {"content_type": "application/json"}
        answer = ask(self.collector, address, method=method, body=text, **kind)
        return answer.status, json.loads(answer.body)

    def save(self, name: str = "fits", **changes: Any) -> dict[str, Any]:
        status, saved = self.call("PUT", f"/{name}", {**FITS, "is_on": True, **changes})
        assert status == 200, saved
        found: dict[str, Any] = saved
        return found

    def state(self) -> str:
        return str(self.call("GET", "/fits")[1]["state"])

    def backfill(self, name: str = "fits", **wanted: Any) -> dict[str, Any]:
        """Plan a backfill and confirm it."""
        status, plan = self.call("POST", f"/{name}/backfill-plan", wanted)
        assert status == 200, plan
        status, started = self.call("POST", f"/{name}/backfill", plan["confirm"])
        assert status == 200, started
        found: dict[str, Any] = started
        return found

    def backfilled(self, state: str = "finished") -> dict[str, Any]:
        """Wait until the backfill has a state, and return it."""
        wait_until(
            lambda: self.call("GET", "/fits/backfill")[1].get("state") == state,
            60,
            about=lambda: str(self.call("GET", "/fits/backfill")) + self.collector.output[-2_000:],
        )
        found: dict[str, Any] = self.call("GET", "/fits/backfill")[1]
        return found

    def runs(self, where: str = "") -> list[dict[str, Any]]:
        return self.collector.runs(self.project, where=where)

    def evaluations(self, run: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the judge's scores of a run."""
        answer = self.collector.get(f"/projects/{self.project}/runs/{run['run_id']}")
        return [item for item in answer["evaluations"] if item["judge"] == "fits"]

    def judged(self, number: int, judge: str = "fits") -> list[dict[str, Any]]:
        """Wait until this many runs have a score, and return them."""
        where = f'scores["{judge}"] >= 0'
        wait_until(
            lambda: len(self.runs(where)) == number,
            60,
            about=lambda: self.collector.output[-2_000:],
        )
        return self.runs(where)


@contextmanager
def judging(
    folder: Path, model: LanguageModel, *arguments: str, **connection: Any
) -> Iterator[CollectorProcess]:
    """Run a collector with a connection to the model, and with a price for it."""
    connections = json.dumps({"here": {**model.connection, **connection}})
    settings = ["--judge-connections", connections, "--prices", PRICES, "--judges", AT_ONCE]
    with running(folder, *settings, *arguments) as collector:
        yield collector
