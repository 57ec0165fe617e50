"""What a worker's job of judges reads and writes, through the API of a collector."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any, Final

import orjson

from otel_ml.reader.api import Api, Question
from otel_ml.reader.errors import NotFound, ReaderError, Refused, Unreachable
from otel_ml_collector.errors import CollectorError, Conflict, Missing, Rejected, Unavailable
from otel_ml_collector.judges.backfill import BackfillState
from otel_ml_collector.judges.judge_store import (
    DueRun,
    DueRuns,
    JudgeLease,
    LiveRubricJudge,
)
from otel_ml_collector.store.judging import JudgeSpending

_RETRY_AFTER_S: Final = 2.0


class RemoteJudgeStore:
    """The store of a collector, through its API.

    Args:
        api: Asks the collector. Its key needs the scopes ``read`` and ``ingest``.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def list_judges(self) -> Sequence[LiveRubricJudge]:
        """List the judges that are on and the running backfills, in all projects of the key.

        Raises:
            Rejected: The key is missing, wrong, or lacks a scope.
        """
        found = self._ask(Question(("rubric-judges",)))
        return [LiveRubricJudge.model_validate(judge) for judge in found["judges"]]

    def save_lease(self, project: str, name: str, lease: JudgeLease) -> JudgeLease:
        """Save a lease in place of its version, and return it with its new version."""
        path = ("projects", project, "rubric-judges", name, "lease")
        saved = self._ask(Question(path, method="PUT", body=lease.model_dump()))
        return JudgeLease.model_validate(saved)

    def find_due(self, live: LiveRubricJudge, after_ns: int) -> DueRuns:
        """Find the runs to judge, from those that arrived after a time."""
        asked = {
            "after_ns": after_ns,
            "digest": live.judge.digest,
            "backfill": None if live.backfill is None else live.backfill.id,
        }
        found = self._ask(Question((*_path_of(live), "due"), asked))
        return DueRuns.model_validate(found)

    def read_runs(self, live: LiveRubricJudge, run_ids: Sequence[str]) -> Mapping[str, DueRun]:
        """Read some runs, by ID, without those that should not be judged."""
        runs: dict[str, DueRun] = {}
        for run_id in run_ids:
            with suppress(Missing):
                found = self._ask(Question((*_path_of(live), "due", run_id)))
                runs[run_id] = DueRun.model_validate(found)
        return runs

    def find_spending(self, live: LiveRubricJudge) -> JudgeSpending:
        """Sum the calls that a judge made today (UTC), trials included; or those of a backfill."""
        if live.backfill is not None:
            state = self._ask(Question((*_path_of(live), "backfill")))
            return JudgeSpending(state["calls"], state["dollars"])
        state = self._ask(Question(_path_of(live)))
        return JudgeSpending(state["calls_today"], state["dollars_today"])

    def has_backfill(self, live: LiveRubricJudge) -> bool:
        """Return whether a backfill is still running: nobody stopped it or changed the judge."""
        try:
            state = self._ask(Question((*_path_of(live), "backfill")))
        except Missing:
            return False
        is_same = live.backfill is not None and state["id"] == live.backfill.id
        return is_same and state["state"] == "running"

    def end_backfill(self, live: LiveRubricJudge, state: BackfillState) -> None:
        """Note that a backfill ended."""
        if live.backfill is not None:
            path = (*_path_of(live), "backfill", live.backfill.id, "end")
            self._ask(Question(path, method="PUT", body={"state": state}))

    def record(self, project: str, body: bytes) -> None:
        """Store an OTLP request in JSON; durable on return.

        Raises:
            Rejected: The collector rejects the spans.
        """
        sent = Question(("traces",), method="POST", body=orjson.loads(body), below="/v1/")
        answer = self._ask(sent)
        refused = (answer.get("partialSuccess") or {}).get("errorMessage")
        if refused:
            raise Rejected(f"The collector rejects scores of project {project}: {refused}")

    def _ask(self, question: Question) -> Any:
        with _collector_errors():
            return self._api.ask(question)


def _path_of(live: LiveRubricJudge) -> tuple[str, ...]:
    return ("projects", live.project, "rubric-judges", live.judge.name)


@contextmanager
def _collector_errors() -> Iterator[None]:
    """Raise errors of requests as the errors that the collector itself raises.

    Raises:
        Unavailable: The collector does not answer or is busy.
        Missing: There is no such record.
        Conflict: The state that the request would replace has changed.
        Rejected: The collector refuses the request for another reason.
    """
    try:
        yield
    except Unreachable as error:
        raise Unavailable(str(error), _RETRY_AFTER_S) from error
    except NotFound as error:
        raise Missing(str(error)) from error
    except Refused as error:
        is_conflict = error.status == HTTPStatus.CONFLICT
        kind: type[CollectorError] = Conflict if is_conflict else Rejected
        raise kind(str(error)) from error
    except ReaderError as error:
        raise Rejected(str(error)) from error
