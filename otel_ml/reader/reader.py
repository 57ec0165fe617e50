"""Reads runs, traces, models, metrics and data back from a collector, and adds feedback."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import uuid4

import orjson

from otel_ml.arguments import (
    check_flag,
    check_integer,
    check_key,
    check_number,
    check_one_of,
    check_optional_text,
    check_seconds,
    check_text,
    choose_project,
    invalid,
)
from otel_ml.attributes import ARTIFACT_SHA256, ARTIFACT_TYPE, NUMBERED
from otel_ml.notebook import Card, HasCard, page_address
from otel_ml.orders import NEWEST, OLDEST, read_order
from otel_ml.reader.api import Api, Question
from otel_ml.reader.errors import NotFound
from otel_ml.reader.listing import Format, Runs, Wanted, export, fetch_part, fetch_run
from otel_ml.reader.lists import Experiments, Rows, list_judges, list_sessions
from otel_ml.reader.moments import Moment, check_moment
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
    number_of,
)
from otel_ml.reader.targets import About, TargetHandle, TargetKind, write_actuals, write_target
from otel_ml.records import (
    ACTUAL_WANTED,
    Actual,
    Alias,
    Aliases,
    ChangedItem,
    CoveredSlice,
    DatasetCoverage,
    DatasetDiff,
    DatasetItem,
    DatasetVersion,
    ExperimentRow,
    ItemScore,
    JudgedChange,
    ListedExperiment,
    ListedItemRun,
    write_actual,
)

if TYPE_CHECKING:
    from typing_extensions import Self

_POINTS: Final = 1_000
_PAGE_OF_VERSIONS: Final = 100
_ITEMS: Final = 10_000
_OBJECTS: Final = 250
_INT64_MAX: Final = 2**63 - 1
_MOST_POINTS: Final = 100_000
_MOST_CHARS: Final = 65_536
_NO_BASELINE: Final = "none"  # is compared with nothing


class Reader(HasCard):
    """Reads the records of a project. Safe to use from several threads.

    Making a reader opens no connection. A question that gets no answer is asked again for a moment
    where that may help, and then raises a `ReaderError`.

    Args:
        project: Which project; ``OTEL_ML_PROJECT`` or ``default`` when not given.
        api_key: A key with the scope read; ``OTEL_ML_API_KEY`` when not given.
        endpoint: Base address of the collector; found as `otel_ml.Client` finds it when not given.
        timeout_s: How long a request may take, or a part of an export.

    Raises:
        ValueError: An argument is invalid; each method checks its own, before it asks.
    """

    def __init__(
        self,
        project: str | None = None,
        api_key: str | None = None,
        endpoint: str | None = None,
        *,
        timeout_s: float = 30.0,
    ) -> None:
        self.project = choose_project(project, _MOST_CHARS)
        key, address = check_key(api_key), check_optional_text("endpoint", endpoint)
        self._api = Api(address, key, check_seconds("timeout_s", timeout_s))

    def __enter__(self) -> "Self":
        """Return the reader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    @property
    def _card(self) -> Card:
        return Card("Reader", self.project, page=self._page())

    def close(self) -> None:
        """Close the connections; a later question opens them again."""
        self._api.close()

    def projects(self, find: str = "") -> list[Project]:
        """List the projects that the key may read, the latest to run first.

        Args:
            find: Only those whose names have this in them, whatever the case of its letters.
        """
        check_text("find", find, _MOST_CHARS, may_be_empty=True)
        return [
            made(Project, item, page=page_address(self._api.page, item["project"]))
            for item in self._api.all("projects", "projects", find=find or None)
        ]

    def runs(
        self,
        where: str = "",
        *,
        start: Moment = None,
        end: Moment = None,
        limit: int | None = None,
        order: str = NEWEST,
        roots: bool = False,
        traces: bool = False,
    ) -> Runs:
        """List runs; asks nothing before the iteration begins.

        Args:
            where: A filter such as ``model == "answer" and latency_ms > 200``; see docs/api.md.
            start: They started then or later: RFC 3339, or a datetime, UTC without a zone.
            end: They started before then.
            limit: At most so many; None for all.
            order: The order, by its first run: newest, oldest, slowest, costliest, most_tokens, or
                by the last score of a judge worst:JUDGE, best:JUDGE, lowest:JUDGE or highest:JUDGE;
                the worst is the highest where less is better. In an order that is not by time, runs
                without an end or without such a value are left out; of equal values the newest
                comes first. Without a start it is of the project's last 30 days.
            roots: Only runs that stand inside no other one.
            traces: Only what stands at the top of a trace with a call in it, a plain span too.
        """
        wanted = self._wanted(where, start, end, limit, order)
        wanted = replace(wanted, roots=check_flag("roots", roots))
        return Runs(self._api, replace(wanted, traces=check_flag("traces", traces)), self._load)

    def run(self, run_id: str) -> Run:
        """Read a run with everything that is known of it.

        Raises:
            NotFound: There is no such run.
        """
        check_text("run_id", run_id)
        run = fetch_run(self._api, self.project, run_id)
        return made_run({**run, "inputs": "", "outputs": None}, self._whole({run_id: run}))

    def trace(self, key: str) -> Trace:
        """Read all runs of the traces that have this id, or this key of yours, the oldest first.

        Raises:
            NotFound: There is no such trace.
        """
        answer = self._api.get("traces", check_text("key", key))
        whole = self._whole({})
        return made(
            Trace,
            answer,
            runs=[made_run(run, whole) for run in answer["runs"] if self._is_ours(run)],
            records=[
                made_told(record, self._load)
                for record in answer["records"]
                if self._is_ours(record)
            ],
        )

    def overview(
        self,
        *,
        last: str = "24h",
        models: str = "model",
        users: str = "user",
        order: str = "cost",
    ) -> dict[str, Any]:
        """Say how the project does, as ``GET .../overview`` answers it.

        Under `findings` it has what is wrong, the worst first: verdicts that are worse, new errors,
        crashed runs, each with the filter `where` of its runs.

        Args:
            last: How far back to look: ``1h``, ``24h``, ``7d`` or ``30d``.
            models: By what the table of models goes: ``model``, ``provider_model``, ``version``.
            users: By what the table of users goes: ``user`` or ``session``.
            order: What comes first in both: ``cost``, ``runs``, ``errors``, ``p95``, ``tokens``, or
                the worst ``quality``.

        Raises:
            BadQuery: One of them is none of these.
        """
        asked = {"last": last, "models": models, "users": users, "order": order}
        for name, value in asked.items():
            check_text(name, value)
        answer: dict[str, Any] = self._get("overview", **asked)
        return answer

    def models(self) -> list[Model]:
        """List the models, the latest to run first."""
        models = self._get("models")["models"]
        return [made(Model, item, page=self._page("models", item["model"])) for item in models]

    def versions(self, model: str) -> list[Version]:
        """Read the versions of a model, the newest first.

        Raises:
            NotFound: There is no such model.
        """
        versions = self._get("models", check_text("model", model), "versions")["versions"]
        return [self._version(item) for item in versions]

    def version(self, model: str, number: int | None = None) -> Version:
        """Read a version of a model.

        Args:
            model: The model; without a number it names the version: ``churn:v3``, or by an alias
                ``churn@champion``.
            number: The small number of the version.

        Raises:
            NotFound: There is no such version, or none has the alias.
            ValueError: No version is named.
        """
        check_text("model", model)
        if number is None:
            model, number = self._named(model)
        check_integer("number", number, 1, _INT64_MAX)
        return self._version(self._get("models", model, "versions", str(number)))

    def _named(self, text: str) -> tuple[str, int]:
        """Read a name of a version, ``churn:v3`` or ``churn@champion``."""
        if numbered := NUMBERED.fullmatch(text):
            return numbered[1], int(numbered[2])
        model, at, alias = text.rpartition("@")
        if not at or not model:
            expected = "a number beside it, or a version such as churn:v3 or churn@champion"
            raise invalid("model", text, expected)
        aliases = [item for item in self.aliases(model).aliases if item.alias == alias]
        if not aliases or aliases[0].version is None:
            raise NotFound(f"No version of {model!r} is called {alias!r}")
        return model, aliases[0].version

    def releases(self, model: str | None = None) -> list[dict[str, Any]]:
        """Read how the newest version, release and provider's model of models do, the newest first.

        Each that is new in the last 14 days, beside what ran before it: as ``GET .../releases``
        answers, with `word`, `sentence`, both sides, and the `figures` with their intervals.

        Args:
            model: Of this model alone.
        """
        if model is None:
            path: tuple[str, ...] = ("releases",)
        else:
            path = ("models", check_text("model", model), "release")
        releases: list[dict[str, Any]] = self._get(*path)["releases"]
        return releases

    def findings(self, *, last: str = "24h", than: str = "28d") -> list[dict[str, Any]]:
        """Read what is wrong in the project, or other than before, the worst first.

        Each as ``GET .../findings`` answers, with its `kind`, `sentence`, and the filter `where`
        that lists its runs.

        Args:
            last: Whose runs are judged: of the last ``1h``, ``24h``, ``7d`` or ``30d``.
            than: How much before that they are held against: ``24h``, ``7d`` or ``28d``.

        Raises:
            BadQuery: One of them is none of these.
        """
        asked = {"last": check_text("last", last), "than": check_text("than", than)}
        findings: list[dict[str, Any]] = self._get("findings", **asked)["findings"]
        return findings

    def slices(
        self,
        where: str = "",
        *,
        figure: str = "",
        start: Moment = None,
        end: Moment = None,
        pairs: bool = False,
    ) -> dict[str, Any]:
        """Read how each value of tags and labels does beside the rest, the worst first.

        As ``GET .../slices`` answers: `slices` with their `sentence`, `excess` (runs lost at
        least), `where` and `cells`, one for each of `figures`.

        Args:
            where: Which runs, the slices and the rest alike.
            figure: Only this one: ``errors``, ``missing inputs``, ``latency``, ``cost``, a judge,
                ``truth churned`` of a target, or ``drift inputs.language``: where a field has other
                values than in the rest.
            start: They started then or later; the last 24 hours unless told.
            end: They started before then.
            pairs: Two conditions at once, where worse than each alone.

        Raises:
            BadQuery: The filter or the figure is wrong.
        """
        asked = {
            "where": check_text("where", where, may_be_empty=True),
            "figure": check_text("figure", figure, may_be_empty=True),
            "start": check_moment("start", start),
            "end": check_moment("end", end),
            "pairs": "true" if check_flag("pairs", pairs) else None,
        }
        slices: dict[str, Any] = self._get("slices", **asked)
        return slices

    def variability(
        self, model: str, version: int | None = None, against: int | None = None
    ) -> dict[str, Any]:
        """Say how alike the answers of a model's versions to the same inputs are.

        Of each version's newest 10,000 runs of production those with equal inputs are compared:
        `versions` has the share of inputs that were answered differently, how likely two runs of
        one input agree, and how far their scores lie apart, with intervals of 95 % over inputs;
        `comparison` a sentence on two versions; `groups` the inputs, each with the filter `where`
        that lists its runs.

        Args:
            model: Its name.
            version: The small number of the version whose groups are listed; the newest one with
                repeated inputs unless told.
            against: That of the version it is compared with.

        Raises:
            NotFound: There is no such model or version.
        """
        asked = {
            name: check_integer(name, number, 1, _INT64_MAX)
            for name, number in (("version", version), ("against", against))
            if number is not None
        }
        found: dict[str, Any] = self._get(
            "models", check_text("model", model), "variability", **asked
        )
        return found

    def fields(
        self, model: str, *, last: str = "24h", than: str = "28d", where: str = ""
    ) -> dict[str, Any]:
        """Judge all fields of a model: inputs, outputs, params, figures and scores, beside before.

        As ``GET .../fields`` answers: `fields`, each with `word` (drift, as before, too few),
        `change` (broken, model, traffic) and a `sentence`.

        Args:
            model: Whose fields.
            last: How long the judged window is: ``1h``, ``24h`` or ``7d``; the newest that is over.
            than: What it is held against: ``28d`` before, ``version``, ``version:3``, two days such
                as ``2026-11-01/2026-11-08``, ``dataset:qa``, or ``profile:churn``.
            where: A filter on the runs.
        """
        answer: dict[str, Any] = self._get(
            "fields", **_ask_fields(model, last=last, than=than, where=where)
        )
        return answer

    def profiles(self) -> list[dict[str, Any]]:
        """List the profiles that clients have sent to the project, the newest version of each.

        Each as ``GET .../profiles`` answers: its `name`, `number`, `version`, and `components`. The
        fields of a model are held against one by ``reader.fields(model, than="profile:NAME")``.
        """
        profiles: list[dict[str, Any]] = self._get("profiles")["profiles"]
        return profiles

    def field(
        self, name: str, *, model: str, last: str = "24h", than: str = "28d", where: str = ""
    ) -> dict[str, Any]:
        """Report a field of a model: in words, as distributions, over time, by its typical runs.

        As ``GET .../fields/{field}`` answers.

        Args:
            name: Its path, such as ``inputs.question``.
            model: Whose field.
            last: As of `fields`.
            than: As of `fields`.
            where: A filter on the runs.

        Raises:
            NotFound: There is no such field.
        """
        answer: dict[str, Any] = self._get(
            *("fields", check_text("name", name)),
            **_ask_fields(model, last=last, than=than, where=where),
        )
        return answer

    def aliases(self, model: str) -> Aliases:
        """Read the current aliases of a model's versions, and the history of their moves.

        Raises:
            NotFound: There is no such model.
        """
        return _aliases(self._get("models", check_text("model", model), "aliases"))

    def set_alias(
        self,
        model: str,
        alias: str,
        version: int | None,
        *,
        by: str = "",
        move_id: str | None = None,
    ) -> Aliases:
        """Move a name to a version of a model. A key needs the scope annotate.

        Args:
            model: The model.
            alias: Such as ``champion``.
            version: The small number; None takes the name away.
            by: Who moves it; by default the name of the key.
            move_id: Your own id of the move: sent again under it, it is stored once.

        Returns:
            The names after the move.

        Raises:
            NotFound: There is no such version.
            BadQuery: The name is not allowed.
        """
        check_text("model", model)
        check_text("alias", alias, 128)
        if version is not None:
            check_integer("version", version, 1, _INT64_MAX)
        check_text("by", by, 256, may_be_empty=True)
        check_optional_text("move_id", move_id, 256)
        body = {"alias": alias, "version": version, "by": by, "id": move_id or uuid4().hex}
        return _aliases(self._post({**body, "source": "sdk"}, "models", model, "aliases"))

    def judges(self) -> Rows:
        """List the judges by their names, as ``GET .../judges`` answers them.

        A notebook shows the list as a table.

        Each has `judge`, `description`, `versions`, and the figures of its `newest` version and
        the `others`: figures of different versions are never joined.
        """
        return list_judges(self._get("judges")["judges"], self._api.page, self.project)

    def judge_versions(self, judge: str) -> list[dict[str, Any]]:
        """Read the versions of a judge, the newest first, as the API answers them.

        Each has its definition, its figures, and with each bar of its distribution and its days
        the filter `where` that lists the runs.

        Raises:
            NotFound: There is no such judge.
        """
        answer = self._get("judges", check_text("judge", judge), "versions")
        versions: list[dict[str, Any]] = answer["versions"]
        return versions

    def judge_strictness(self, judge: str, version: int, against: int) -> dict[str, Any]:
        """Compare two versions of a judge on the runs that both judged, as the API answers it.

        `sentence` tells whether the version is stricter, by how much and how sure that is;
        `flipped_to_fail` and `flipped_to_pass` have each the filter `where` that lists the runs.

        Args:
            judge: Its name.
            version: The small number of the version that is asked about.
            against: That of the other version.

        Raises:
            NotFound: There is no such judge or version.
        """
        check_integer("version", version, 1, _INT64_MAX)
        path = ("judges", check_text("judge", judge), "versions", str(version), "strictness")
        judge_strictness: dict[str, Any] = self._get(
            *path, against=check_integer("against", against, 1, _INT64_MAX)
        )
        return judge_strictness

    def judge_agreement(self, judge: str) -> dict[str, Any]:
        """Say how far people, and other judges, agree with a judge.

        Under `versions` it has the confusion table, the agreement and Cohen's kappa of each that
        judged runs which people judged too; under `people` Krippendorff's alpha; under `corrected`
        the pass rate of the newest version, corrected by people where a queue drew their runs at
        random, else None; under `judges` each other judge on the runs that both judged. Intervals
        are those of 95 %.
        """
        found: dict[str, Any] = self._get("judges", check_text("judge", judge), "agreement")
        return found

    def queues(self) -> list[dict[str, Any]]:
        """List the queues of runs that people judge, by name, as ``GET .../queues`` answers them.

        Each has its filter, its question and choices, and how far it is under `progress`.
        """
        queues: list[dict[str, Any]] = self._get("queues")["queues"]
        return queues

    def queue(self, name: str) -> dict[str, Any]:
        """Read a queue, as `queues` lists it.

        Raises:
            NotFound: There is no such queue.
        """
        found: dict[str, Any] = self._get("queues", check_text("name", name, _MOST_CHARS))
        return found

    def queue_agreement(self, name: str) -> dict[str, Any]:
        """Say how far people agree on the runs of a queue, as `judge_agreement` does.

        Raises:
            NotFound: There is no such queue.
        """
        path = ("queues", check_text("name", name, _MOST_CHARS), "agreement")
        found: dict[str, Any] = self._get(*path)
        return found

    def alerts(self) -> dict[str, Any]:
        """List the rules of alerts with their states, the worst first, and the mutes.

        As ``GET .../alerts`` answers: `alerts`, each with its `rule`, `state`, `slices` and `days`,
        and `mutes`.
        """
        alerts: dict[str, Any] = self._get("alerts")
        return alerts

    def check_alert(self, name: str, *, since: str = "30d") -> dict[str, Any]:
        """Say when a rule of alerts would have fired, as it is now; nothing is stored by it.

        As ``GET .../alerts/{alert}/check`` answers: `firings`, the newest first, and the windows of
        the `slices` that fired longest.

        Args:
            name: The name of the rule.
            since: How long ago, such as ``30d``, or a time.

        Raises:
            NotFound: There is no rule of that name.
        """
        asked = {"since": check_text("since", since)}
        path = ("alerts", check_text("name", name), "check")
        history: dict[str, Any] = self._get(*path, **asked)
        return history

    def alert_deliveries(self, rule: str = "") -> dict[str, Any]:
        """List the notifications of rules of alerts by target, the newest 20 of each.

        As ``GET .../alert-deliveries`` answers: `targets`, each with its `deliveries`: when each
        was delivered, after how many `tries`, and the `trouble` of the last one.

        Args:
            rule: Only of this rule; empty for all.

        Raises:
            NotFound: There is no rule of that name.
        """
        asked = {"rule": check_text("rule", rule, may_be_empty=True)}
        deliveries: dict[str, Any] = self._get("alert-deliveries", **asked)
        return deliveries

    def save_alert(self, name: str, **wanted: Any) -> dict[str, Any]:
        """Save a rule of alerts, in place of what has its name.

        A key needs the scope admin.

        Args:
            name: Its name.
            wanted: The fields of a rule, such as ``when='error_share > 0.05', window="1h"``.

        Raises:
            BadQuery: A field is wrong.
        """
        path = ("projects", self.project, "alerts", check_text("name", name))
        for field, value in wanted.items():
            try:
                orjson.dumps(value)
            except TypeError as error:
                raise invalid(field, value, "a value of JSON") from error
        saved: dict[str, Any] = self._api.ask(Question(path, method="PUT", body=wanted))
        return saved

    def targets(self) -> dict[str, Any]:
        """List the targets of the project, and the names of truths that have none.

        As ``GET .../targets`` answers: `targets`, each with its model, prediction and kind, and
        `truths`.
        """
        targets: dict[str, Any] = self._get("targets")
        return targets

    def target(self, name: str) -> TargetHandle:
        """Name a target, or a truth that has none; nothing is asked yet.

        ``reader.target("churned").quality(last="60d")``
        """
        return TargetHandle(check_text("name", name, _MOST_CHARS), self.project, self._api)

    def save_target(
        self,
        name: str,
        *,
        model: str,
        prediction: str = "outputs",
        kind: TargetKind = "class",
        positive: str = "",
        probability: str = "",
        truth: str = "",
        k: int = 10,
    ) -> dict[str, Any]:
        """Save which part of a model's output foretells a truth, in place of what has its name.

        A key needs the scopes read and annotate.

        Args:
            name: The name of the target, and of the truth unless told.
            model: The model whose runs foretell it.
            prediction: The part that foretells it, such as ``outputs.label``.
            kind: One of several classes, a number, or a list of which the first are best.
            positive: Of a class the one that is looked for.
            probability: The probability of that class, such as ``outputs.p``.
            truth: The name of the truth, where it is another.
            k: Of a ranking how many of the first count.

        Returns:
            The target with its `version`.

        Raises:
            BadQuery: A path is none of the outputs, or an option is not one of its kind.
        """
        path = ("projects", self.project, "targets", check_text("name", name, _MOST_CHARS))
        body = write_target(
            model=model,
            prediction=prediction,
            kind=kind,
            positive=positive,
            probability=probability,
            truth=truth,
            k=k,
        )
        saved: dict[str, Any] = self._api.ask(Question(path, method="PUT", body=body))
        return saved

    def delete_target(self, name: str) -> dict[str, Any]:
        """Delete a target, and return what it was; its truths stay.

        Raises:
            NotFound: There is no such target.
        """
        path = ("projects", self.project, "targets", check_text("name", name, _MOST_CHARS))
        deleted: dict[str, Any] = self._api.ask(Question(path, method="DELETE"))
        return deleted

    def actuals(
        self,
        frame: Any,
        *,
        name: str,
        key: str,
        value: str,
        by: About | None = None,
        time: str | None = None,
    ) -> int:
        """Store a table of truths that came later; each is durable when this returns.

        Their runs may come later. The same table imported again is stored once, so that after an
        error it is simply imported again. It is sent in requests of 1,000 rows.

        Args:
            frame: A table of pandas, polars or pyarrow, a structured array of numpy, or a list of
                mappings. A row without a key or a value is left out.
            name: The name of the truth, such as ``churned``.
            key: The column that says which run is meant.
            value: The column of the truth: texts, numbers, bools or lists.
            by: What the key is: a ``run_id``, ``trace_id``, ``trace_key``, or the value of the
                ``tag`` that is named as the column; unless told the column's name says it.
            time: The column of when that was known; now unless told. Of two truths of a run the
                later one holds.

        Returns:
            How many truths were sent.

        Raises:
            ValueError: A column is not there, or a value is none that a truth may have.
            BadQuery: A row is wrong; those of earlier requests are stored.
        """
        sent = 0
        for part in write_actuals(frame, name, key, value, by=by, time=time):
            self._post({"evaluations": part}, "evaluations")
            sent += len(part)
        return sent

    def sessions(self, where: str = "", *, limit: int = 50) -> Rows:
        """List the sessions with a matching run, the session of the latest run first.

        A notebook shows the list as a table.

        Each is a dict as ``GET .../sessions`` answers it: how many turns and runs it has, tokens,
        cost, scores. Figures are of all of its runs.

        Args:
            where: A filter of runs, such as ``user == "ada"``; empty for all.
            limit: How many at most, up to 1,000.

        Raises:
            BadQuery: The filter is wrong.
        """
        check_text("where", where, _MOST_CHARS, may_be_empty=True)
        check_integer("limit", limit, 1, 1_000)
        answer = self._get("sessions", where=where or None, limit=limit)
        return list_sessions(answer["sessions"], self._api.page, self.project)

    def session(self, session: str) -> dict[str, Any]:
        """Read a session as ``GET .../sessions/{session}`` answers it, with all of its turns.

        The several answers of a session with more than 1,000 runs are a single list of turns
        here.

        Raises:
            NotFound: No run names this session.
        """
        path = ("sessions", check_text("session", session))
        found: dict[str, Any] = self._get(*path)
        cursor = found["next_cursor"]
        while cursor is not None:
            more = self._get(*path, cursor=cursor)
            found["conversation"] += more["conversation"]
            cursor = more["next_cursor"]
        return found | {"next_cursor": None}

    def metrics(
        self,
        run_id: str | None = None,
        name: str | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        points: int = _POINTS,
    ) -> dict[str, Series]:
        """Read the metrics of a run, or those logged for a version, by their names.

        Args:
            run_id: The run.
            name: This metric alone.
            model: Instead of a run: the model.
            version: The version of the model.
            points: At most so many of a series, up to 100,000; fewer points keep the shape.

        Raises:
            NotFound: There is no such version.
            ValueError: Neither a run nor a version is named, or both.
        """
        _check_texts(run_id=run_id, name=name, model=model)
        if version is not None:
            check_integer("version", version, 1, _INT64_MAX)
        check_integer("points", points, 1, _MOST_POINTS)
        if (run_id is None) == (model is None or version is None):
            raise ValueError("Expected a run_id, or a model and its version")
        about = {"run_id": run_id, "model": model, "version": version}
        series = self._get("metrics", **about, name=name, points=points)["series"]
        of_run = run_id is not None
        page = self._page("runs", run_id or "") if of_run else self._version_page(model, version)
        return {
            item["name"]: made(
                Series,
                item,
                points=[
                    made(Point, point, value=number_of(point["value"])) for point in item["points"]
                ],
                page=page,
            )
            for item in series
        }

    def artifacts(
        self,
        *,
        run_id: str | None = None,
        trace: str | None = None,
        start: Moment = None,
        end: Moment = None,
    ) -> Iterator[Artifact]:
        """List logged artifacts, newest first, without the values themselves.

        Args:
            run_id: Of this run.
            trace: Of this trace: its id, or your key of it.
            start: Logged then or later.
            end: Logged before then.
        """
        _check_texts(run_id=run_id, trace=trace)
        within = {
            "start": check_moment("start", start),
            "end": check_moment("end", end),
            "limit": _OBJECTS,
        }
        found = self._all("objects", "objects", run_id=run_id, trace_id=trace, **within)
        return (made(Artifact, item, _load=self._load) for item in found)

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
        check_text("ref", ref)
        _check_texts(run_id=run_id, trace=trace)
        if (run_id is None) == (trace is None):
            raise ValueError("Expected one of run_id and trace")
        answer = self._get("objects", run_id=run_id, trace_id=trace, ref=ref)
        return _value(answer["obj_data"])

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
        source: Literal["human", "actual", "agent"] = "human",
        actual: Actual | None = None,
        time: Moment = None,
        statement_id: str | None = None,
    ) -> str:
        """Store a person's evaluation of a run, or a truth that came later.

        Its run may come later. It is stored when this returns. A key needs the scope
        annotate.

        Args:
            judge: The name of the criterion, such as ``thumbs``.
            run_id: About this run. Either this or any of the next three is needed.
            trace_id: About this trace.
            trace_key: About the traces with this key of yours.
            tag: About all runs that have this tag, ``name=value``.
            score: How good.
            passed: Whether it is good enough.
            label: A word for it.
            explanation: Why.
            source: A person's word (human), the truth that came later (actual), or the word of
                a program on nobody's behalf (agent), which is in no scores.
            actual: The value of that truth, as `otel_ml.runs.Handle.actual` takes it; nothing but
                an explanation stands beside it.
            time: The time of the statement; by default now. Of two statements the later holds.
            statement_id: Your own id: sent again under it, it is stored once.

        Returns:
            The id under which it is kept.

        Raises:
            BadQuery: A value is wrong; the message names it.
        """
        about = {"run_id": run_id, "trace_id": trace_id, "trace_key": trace_key, "tag": tag}
        words = {"label": label, "explanation": explanation}
        check_text("judge", judge)
        _check_texts(**about, **words, statement_id=statement_id)
        if score is not None:
            check_number("score", score)
        if passed is not None:
            check_flag("passed", passed)
        check_one_of("source", source, ("human", "actual", "agent"))
        value = {}
        if actual is not None:
            source = "actual"
            try:
                value = {"actual": orjson.loads(write_actual(actual))}
            except ValueError as error:
                raise invalid("actual", actual, ACTUAL_WANTED) from error
        facts = {
            "id": statement_id or uuid4().hex,  # asked again after a lost answer it is stored once
            "judge": judge,
            "source": source,
            "time": check_moment("time", time),
            **about,
            "score": score,
            "passed": passed,
            **words,
            **value,
        }
        [stored] = self._post({"evaluations": [facts]}, "evaluations")["evaluations"]
        return str(stored["record_id"])

    def datasets(self) -> list[DatasetVersion]:
        """List the data sets, each as its newest version, the latest sent first."""
        datasets = self._get("datasets")["datasets"]
        return [made(DatasetVersion, item) for item in datasets]

    def dataset_versions(self, name: str) -> list[DatasetVersion]:
        """List the versions of a data set with the changes of each, the newest first.

        Raises:
            NotFound: There is no such data set.
        """
        check_text("name", name, _MOST_CHARS)
        found = self._all("versions", "datasets", name, "versions", limit=_PAGE_OF_VERSIONS)
        return [made(DatasetVersion, item) for item in found]

    def dataset_items(self, name: str, version: int) -> Iterator[DatasetItem]:
        """Read the items of a version of a data set, in the order of their ids.

        Typed values in them, such as arrays, tables and images, are as they were when they were
        saved.

        Args:
            name: Of the data set.
            version: Its small number.

        Raises:
            NotFound: There is no such version, or the document of a typed value is not here.
        """
        path = _dataset_path(name, version, "items")
        return map(self._item, self._all("items", *path, limit=_ITEMS))

    def _item(self, facts: dict[str, Any]) -> DatasetItem:
        values = {part: self._typed(facts[part]) for part in ("inputs", "expected")}
        return made(DatasetItem, {**facts, **values})

    def dataset_diff(self, name: str, version: int, against: int) -> DatasetDiff:
        """Read the changes of a version of a data set against another version.

        Args:
            name: Of the data set.
            version: The small number of the version.
            against: That of the other version.

        Raises:
            NotFound: A version is not there.
        """
        path = _dataset_path(name, version, "diff")
        answer = self._get(*path, against=check_integer("against", against, 1, _INT64_MAX))
        items = [made(ChangedItem, item) for item in answer["items"]]
        return made(DatasetDiff, answer, items=items)

    def dataset_coverage(self, name: str, version: int) -> DatasetCoverage:
        """Tell for which slices of production's runs a version of a data set has items.

        Args:
            name: Of the data set.
            version: Its small number.

        Raises:
            NotFound: There is no such version.
        """
        answer = self._get(*_dataset_path(name, version, "coverage"))
        slices = [made(CoveredSlice, item) for item in answer["slices"]]
        return made(DatasetCoverage, answer, slices=slices)

    def experiments(
        self, where: str = "", *, limit: int | None = None, verdicts: bool = False
    ) -> Experiments:
        """List experiments, the newest first; asks nothing before the iteration begins.

        Args:
            where: A filter such as ``dataset == "qa" and last("7d")``; see docs/api.md.
            limit: At most so many; None for all.
            verdicts: Whether each has its `verdict` and the `values` of its judges.
        """
        check_text("where", where, _MOST_CHARS, may_be_empty=True)
        if limit is not None:
            check_integer("limit", limit, 0, _INT64_MAX)
        check_flag("verdicts", verdicts)
        return Experiments(self._api, self.project, where, limit, verdicts=verdicts)

    def experiment(self, run_id: str) -> ListedExperiment:
        """Read an experiment without its verdict; `otel_ml.Result.load` makes a result of it.

        Raises:
            NotFound: There is no such experiment.
        """
        check_text("run_id", run_id, _MOST_CHARS)
        answer = self._get("experiments", run_id, baseline=_NO_BASELINE)
        return made(ListedExperiment, answer["experiment"])

    def experiment_rows(self, run_id: str, baseline: str = _NO_BASELINE) -> Iterator[ExperimentRow]:
        """Read the items of an experiment with its runs over each, in the order of their ids.

        Args:
            run_id: Of the experiment's own run.
            baseline: Whose runs over the same items stand beside them: the run id of another
                experiment, ``recorded`` for the runs that it replays, or ``none``.

        Raises:
            NotFound: There is no such experiment, or no such baseline.
        """
        check_text("run_id", run_id, _MOST_CHARS)
        check_text("baseline", baseline, _MOST_CHARS)
        path = ("experiments", run_id, "rows")
        return map(_row, self._all("rows", *path, limit=_POINTS, baseline=baseline))

    def compare(
        self,
        of: Sequence[str],
        baseline: str | None = None,
        *,
        metric: str | None = None,
        lower: Sequence[str] = (),
        higher: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Compare runs, versions or experiments with a baseline, as ``GET .../compare`` answers.

        Has `sentence`, the params that differ, and of each of the `sides` its params, metrics, and
        the verdict of a version or an experiment.

        Args:
            of: Two to six run ids, versions such as ``answer:v3`` or ``answer@champion``, or run
                ids of experiments; up to 50 ids of runs that logged metrics.
            baseline: A side of them. By default, of runs the first; of versions the oldest; of
                experiments the baseline that another was run beside, else the newest with the tag
                ``baseline``, else the oldest.
            metric: The metric of the sentence; by default a metric that most of them have.
            lower: Metrics of which less is better, whatever their names say.
            higher: Metrics of which more is better.

        Raises:
            NotFound: A side is not there.
            BadQuery: They are of several kinds, too few, or too many.
        """
        found: dict[str, Any] = self._get(
            "compare",
            of=_names("of", of),
            baseline=check_optional_text("baseline", baseline, _MOST_CHARS),
            metric=check_optional_text("metric", metric, _MOST_CHARS),
            lower=_names("lower", lower),
            higher=_names("higher", higher),
        )
        return found

    def _typed(self, value: Any) -> Any:
        """Replace the references to documents by their typed values."""
        if isinstance(value, dict):
            if value.keys() == {ARTIFACT_TYPE, ARTIFACT_SHA256}:
                return _value(self._get("artifacts", value[ARTIFACT_SHA256]))
            return {key: self._typed(inner) for key, inner in value.items()}
        return [self._typed(inner) for inner in value] if isinstance(value, list) else value

    def export(
        self,
        kind: Format = "jsonl",
        where: str = "",
        *,
        start: Moment = None,
        end: Moment = None,
        columns: str = "",
    ) -> Iterator[bytes]:
        """Read the runs that have ended as the parts of a file, of any size, the oldest first.

        Args:
            kind: JSON lines, CSV or Parquet.
            where: A filter, as of `runs`.
            start: They started then or later.
            end: They started before then.
            columns: Names with commas, ``*`` for all with payload; by default those of a list.

        Raises:
            Unreachable: It broke off: the parts are no whole file.
        """
        check_one_of("kind", kind, ("jsonl", "csv", "parquet"))
        check_text("columns", columns, _MOST_CHARS, may_be_empty=True)
        return export(self._api, self._wanted(where, start, end, None, OLDEST), kind, columns)

    def _get(self, *path: str, **asked: object) -> Any:
        return self._api.get("projects", self.project, *path, **asked)

    def _all(self, name: str, *path: str, **asked: object) -> Iterator[dict[str, Any]]:
        return self._api.all(name, "projects", self.project, *path, **asked)

    def _post(self, body: object, *path: str) -> Any:
        return self._api.ask(Question(("projects", self.project, *path), method="POST", body=body))

    def _wanted(
        self, where: str, start: Moment, end: Moment, limit: int | None, order: str
    ) -> Wanted:
        check_text("where", where, _MOST_CHARS, may_be_empty=True)
        if limit is not None:
            check_integer("limit", limit, 0, _INT64_MAX)
        order = read_order(check_text("order", order))
        return Wanted(
            self.project,
            where,
            check_moment("start", start),
            check_moment("end", end),
            limit,
            order,
        )

    def _page(self, *parts: str, **asked: str | None) -> str:
        return page_address(self._api.page, self.project, *parts, **asked)

    def _version(self, told: dict[str, Any]) -> Version:
        return made(Version, told, page=self._version_page(told["model"], told["version"]))

    def _version_page(self, model: object, version: object) -> str:
        return self._page("models", str(model), to=str(version))

    def _is_ours(self, facts: dict[str, Any]) -> bool:
        return bool(facts["project"] == self.project)

    def _whole(self, known: dict[str, dict[str, Any]]) -> Whole:
        def fetch(run_id: str, name: str) -> dict[str, Any]:
            return fetch_part(self._api, self.project, run_id, name)

        return Whole(fetch, self._load, known, self._api.page)

    def _load(self, artifact: Artifact) -> Any:
        if artifact.sha256 is None:
            return self.artifact(artifact.ref, run_id=artifact.run_id)
        return _value(self._get("artifacts", artifact.sha256))


def _ask_fields(model: str, *, last: str, than: str, where: str) -> dict[str, object]:
    check_text("where", where, _MOST_CHARS, may_be_empty=True)
    for argument, value in (("model", model), ("last", last), ("than", than)):
        check_text(argument, value)
    return {"model": model, "last": last, "than": than, "where": where}


def _aliases(value: Any) -> Aliases:
    return Aliases(
        [made(Alias, alias) for alias in value["aliases"]],
        [made(Alias, item) for item in value["history"]],
    )


def _dataset_path(name: str, version: int, part: str) -> tuple[str, ...]:
    """Name a part of a version of a data set, if its arguments are valid."""
    check_text("name", name, _MOST_CHARS)
    check_integer("version", version, 1, _INT64_MAX)
    return "datasets", name, "versions", str(version), part


def _names(argument: str, given: Any) -> list[str]:
    """Return a list of texts, as Python's own."""
    if not issubclass(type(given), list | tuple):
        raise invalid(argument, given, "a list of texts")
    return [check_text(argument, item, _MOST_CHARS) for item in given]


def _check_texts(**given: object) -> None:
    for argument, value in given.items():
        check_optional_text(argument, value, _MOST_CHARS)


def _value(document: Any) -> Any:
    from otel_ml import types  # loads what reads values, which who only lists need not pay

    return types.load(document).data


def _row(facts: dict[str, Any]) -> ExperimentRow:
    runs, baseline = (
        [
            made(
                ListedItemRun,
                run,
                scores={name: made(ItemScore, score) for name, score in run["scores"].items()},
            )
            for run in facts[side]
        ]
        for side in ("runs", "baseline")
    )
    changes = [made(JudgedChange, change) for change in facts.get("changes", ())]
    return made(ExperimentRow, facts, runs=runs, baseline=baseline, changes=changes)
