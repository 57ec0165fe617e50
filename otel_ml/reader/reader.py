"""Reads runs, traces, models, metrics and data back from a collector, and adds feedback."""

import os
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import uuid4

from otel_ml import attributes as names
from otel_ml.reader.api import Api, Question
from otel_ml.reader.listing import Format, Order, Runs, Wanted, export, fetch_run
from otel_ml.reader.moments import Moment, write_moment
from otel_ml.reader.records import (
    Artifact,
    Model,
    Point,
    Project,
    Run,
    Series,
    Trace,
    Version,
    Whole,
    made,
    made_run,
    made_told,
)

if TYPE_CHECKING:
    from typing_extensions import Self

_POINTS: Final = 1_000
_OBJECTS: Final = 250


class Reader:
    """Reads the records of one project. Safe to use from several threads.

    Making a reader opens no connection. A question that gets no answer is asked again for a moment
    where that may help, and then raises a `ReaderError`.

    Args:
        endpoint: Base address of the collector; found as `otel_ml.Client` finds it when not given.
        api_key: A key with the scope read; ``OTEL_ML_API_KEY`` when not given.
        project: Which project; ``OTEL_ML_PROJECT`` or ``default`` when not given.
        timeout_s: How long one request may take, or one part of an export.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        api_key: str | None = None,
        project: str | None = None,
        *,
        timeout_s: float = 30.0,
    ) -> None:
        self.project = project or os.environ.get("OTEL_ML_PROJECT") or names.DEFAULT_PROJECT
        self._api = Api(endpoint, api_key, timeout_s)

    def __enter__(self) -> "Self":
        """Return the reader itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections; a later question opens them again."""
        self._api.close()

    def projects(self) -> list[Project]:
        """List the projects that the key may read, the one that ran last first."""
        return [made(Project, one) for one in self._api.get("projects")["projects"]]

    def runs(
        self,
        where: str = "",
        *,
        start: Moment = None,
        end: Moment = None,
        limit: int | None = None,
        order: Order = "desc",
    ) -> Runs:
        """List runs; asks nothing before one goes over them.

        Args:
            where: A filter such as ``model == "answer" and latency_ms > 200``; see docs/api.md.
            start: They started then or later: RFC 3339, or a datetime, UTC without a zone.
            end: They started before then.
            limit: At most so many; None for all.
            order: By start, newest (desc) or oldest first (asc).
        """
        return Runs(self._api, self._wanted(where, start, end, limit, order), self._load)

    def run(self, run_id: str) -> Run:
        """Read one run with everything that is known of it.

        Raises:
            NotFound: There is no such run.
        """
        told = fetch_run(self._api, self.project, run_id)
        return made_run({**told, "inputs": "", "outputs": None}, self._whole({run_id: told}))

    def trace(self, key: str) -> Trace:
        """Read all runs of the traces that have this id, or this key of yours, the oldest first.

        Raises:
            NotFound: There is no such trace.
        """
        told = self._api.get("traces", key)
        whole = self._whole({})
        return made(
            Trace,
            told,
            runs=[made_run(one, whole) for one in told["runs"] if self._is_ours(one)],
            records=[made_told(one, self._load) for one in told["records"] if self._is_ours(one)],
        )

    def models(self) -> list[Model]:
        """List the models, the one that ran last first."""
        found = self._api.get("projects", self.project, "models")["models"]
        return [made(Model, one) for one in found]

    def versions(self, model: str) -> list[Version]:
        """Read the versions of a model, the newest first.

        Raises:
            NotFound: There is no such model.
        """
        path = ("projects", self.project, "models", model, "versions")
        return [made(Version, one) for one in self._api.get(*path)["versions"]]

    def version(self, model: str, number: int) -> Version:
        """Read one version of a model.

        Raises:
            NotFound: There is no such version.
        """
        path = ("projects", self.project, "models", model, "versions", str(number))
        return made(Version, self._api.get(*path))

    def metrics(
        self,
        run_id: str | None = None,
        name: str | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        points: int = _POINTS,
    ) -> dict[str, Series]:
        """Read what a run logged, or what was logged for a version, by the names of the metrics.

        Args:
            run_id: Which run.
            name: This metric alone.
            model: Instead of a run: which model.
            version: And which version of it.
            points: At most so many of a series, up to 100,000; what is left out keeps its shape.

        Raises:
            NotFound: There is no such version.
            ValueError: Neither a run nor a version is named, or both.
        """
        if (run_id is None) == (model is None or version is None):
            raise ValueError("Expected a run_id, or a model and its version")
        about = {"run_id": run_id, "model": model, "version": version}
        asked = {**about, "name": name, "points": points}
        found = self._api.get("projects", self.project, "metrics", **asked)["series"]
        return {one["name"]: _series(one) for one in found}

    def artifacts(
        self,
        *,
        run_id: str | None = None,
        trace: str | None = None,
        start: Moment = None,
        end: Moment = None,
    ) -> Iterator[Artifact]:
        """List what was logged, newest first, without the values themselves.

        Args:
            run_id: Of this run.
            trace: Of this trace: its id, or your key of it.
            start: Logged then or later.
            end: Logged before then.
        """
        cursor = None
        within = {"start": write_moment(start), "end": write_moment(end), "limit": _OBJECTS}
        while True:
            asked = {"run_id": run_id, "trace_id": trace, **within, "cursor": cursor}
            page = self._api.get("projects", self.project, "objects", **asked)
            yield from (made(Artifact, one, _load=self._load) for one in page["objects"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def artifact(self, ref: str, *, run_id: str | None = None, trace: str | None = None) -> Any:
        """Fetch the newest value under a reference of a run or a trace, as it was logged.

        Args:
            ref: The reference.
            run_id: Of this run.
            trace: Of this trace: its id, or your key of it.

        Raises:
            NotFound: There is none.
            ValueError: Neither a run nor a trace is named, or both, or the type is not registered.
            ImportError: The value needs a package that is not installed.
        """
        if (run_id is None) == (trace is None):
            raise ValueError("Expected one of run_id and trace")
        asked = {"run_id": run_id, "trace_id": trace, "ref": ref}
        found = self._api.get("projects", self.project, "objects", **asked)
        return _value(found["obj_data"])

    def feedback(  # noqa: PLR0913 - all by keyword
        self,
        judge: str,
        *,
        run_id: str | None = None,
        trace_id: str | None = None,
        trace_key: str | None = None,
        tag: str | None = None,
        score: float | None = None,
        passed: bool | None = None,
        label: str = "",
        explanation: str = "",
        source: Literal["human", "actual"] = "human",
        time: Moment = None,
        statement_id: str | None = None,
    ) -> str:
        """Say what a person thinks of a run, or what turned out to be true.

        What it is about may come later. It is stored when this returns. A key needs the scope
        annotate.

        Args:
            judge: What is judged, such as ``thumbs``.
            run_id: About this run. One of this and the next three is needed.
            trace_id: About this trace.
            trace_key: About the traces with this key of yours.
            tag: About all runs that have this tag, ``name=value``.
            score: How good.
            passed: Whether it is good enough.
            label: A word for it.
            explanation: Why.
            source: A person's word (human), or the truth that came later (actual).
            time: When it was said; now unless told. Of two statements the later one holds.
            statement_id: Your own id: said again under it, it is stored once.

        Returns:
            The id under which it is kept.

        Raises:
            BadQuery: A value is wrong; the message says which.
        """
        about = {"run_id": run_id, "trace_id": trace_id, "trace_key": trace_key, "tag": tag}
        said = {"score": score, "passed": passed, "label": label, "explanation": explanation}
        told = {
            "id": statement_id or uuid4().hex,  # asked again after a lost answer it is stored once
            "judge": judge,
            "source": source,
            "time": write_moment(time),
            **about,
            **said,
        }
        path = ("projects", self.project, "evaluations")
        body = {"evaluations": [told]}
        [stored] = self._api.ask(Question(path, method="POST", body=body))["evaluations"]
        return str(stored["record_id"])

    def export(
        self,
        kind: Format = "jsonl",
        where: str = "",
        *,
        start: Moment = None,
        end: Moment = None,
        columns: str = "",
    ) -> Iterator[bytes]:
        """Read the runs that have ended as the parts of one file, of any size, the oldest first.

        Args:
            kind: JSON lines, CSV or Parquet.
            where: A filter, as of `runs`.
            start: They started then or later.
            end: They started before then.
            columns: Names with commas, ``*`` for all with payload; unless told those of a list.

        Raises:
            Unreachable: It broke off: the parts are no whole file.
        """
        return export(self._api, self._wanted(where, start, end, None, "asc"), kind, columns)

    def _wanted(
        self, where: str, start: Moment, end: Moment, limit: int | None, order: Order
    ) -> Wanted:
        return Wanted(self.project, where, write_moment(start), write_moment(end), limit, order)

    def _is_ours(self, told: dict[str, Any]) -> bool:
        return bool(told["project"] == self.project)

    def _whole(self, known: dict[str, dict[str, Any]]) -> Whole:
        def fetch(run_id: str, _: str) -> dict[str, Any]:
            return fetch_run(self._api, self.project, run_id)

        return Whole(fetch, self._load, known)

    def _load(self, artifact: Artifact) -> Any:
        if artifact.sha256 is None:
            return self.artifact(artifact.ref, run_id=artifact.run_id)
        return _value(self._api.get("projects", self.project, "artifacts", artifact.sha256))


def _series(told: dict[str, Any]) -> Series:
    return made(Series, told, points=[made(Point, one) for one in told["points"]])


def _value(document: Any) -> Any:
    from otel_ml import types  # loads what reads values, which who only lists need not pay

    return types.load(document).data
