"""Reads runs, traces, models, metrics and data from a collector, and stores feedback."""

import logging
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
from otel_ml.reader.display import FileSource
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
    StoredComparison,
    StoredExperiment,
    Trace,
    Version,
    Whole,
    made,
    made_experiment,
    made_run,
    make_unmatched,
    number_of,
)
from otel_ml.reader.targets import (
    About,
    MatchedActuals,
    TargetHandle,
    TargetKind,
    read_matches,
    write_actuals,
    write_target,
)
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
_MOST_PAIRS: Final = 50
_NO_BASELINE: Final = "none"
_logger = logging.getLogger(__name__)


class Reader(HasCard):
    """Reads the runs, models, metrics and data sets of one project, and stores feedback.

    You can use it from several threads. Creating a reader opens no connection. If the collector is
    busy or does not respond, a request is retried a few times before `ReaderError` is raised.

    Args:
        project: Name of the project. Default: ``OTEL_ML_PROJECT``, else ``default``.
        api_key: A key with the scope ``read``. Default: ``OTEL_ML_API_KEY``.
        endpoint: Base URL of the collector, such as ``http://localhost:4318``. Default: the same as
            for `otel_ml.Client`.
        timeout_s: Time limit in seconds for each request. For an export, it applies to each chunk.

    Raises:
        ValueError: An argument is invalid.
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
        """Close the connections. The next request opens them again."""
        self._api.close()

    def projects(self, find: str = "") -> list[Project]:
        """List the projects that your API key may read, the most recently active first.

        Args:
            find: Only projects whose name contains this text, ignoring case. Empty for all.
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
        tz: str | None = None,
        limit: int | None = None,
        order: str = NEWEST,
        roots: bool = False,
        traces: bool = False,
    ) -> Runs:
        """List runs. No request is sent until you iterate over the list.

        Args:
            where: A filter such as ``model == "answer" and latency_ms > 200``. The filter language
                is described in docs/api.md. Empty for all runs.
            start: Only runs that started at or after this time: RFC 3339 text or a datetime. A
                datetime without a time zone is UTC.
            end: Only runs that started before this time.
            tz: IANA time zone, such as ``Europe/Berlin``. It applies to days in `where`, such as
                ``last("yesterday")``, and to times without an offset in `where`, `start` and `end`.
                None for UTC.
            limit: Maximum number of runs. None for all.
            order: ``newest``, ``oldest``, ``slowest``, ``costliest`` or ``most_tokens``. To sort by
                a judge's newest score: ``worst:JUDGE``, ``best:JUDGE``, ``lowest:JUDGE`` or
                ``highest:JUDGE``. If lower scores are better for a judge, its worst score is the
                highest. All orders except ``newest`` and ``oldest`` leave out runs that have not
                ended or do not have the value. Unless you pass `start`, these orders list only runs
                of the last 30 days. Runs with equal values are sorted newest first.
            roots: Whether to list only outermost runs, which no other run called.
            traces: Whether to list one entry per trace instead: its top span, such as an HTTP
                request. Traces without a model call are left out.
        """
        wanted = self._wanted(where, start, end, limit, order, tz=tz)
        wanted = replace(wanted, roots=check_flag("roots", roots))
        return Runs(self._api, replace(wanted, traces=check_flag("traces", traces)), self._load)

    def run(self, run_id: str) -> Run:
        """Read one run with all of its data.

        Raises:
            NotFound: The project has no such run.
        """
        check_text("run_id", run_id)
        run = fetch_run(self._api, self.project, run_id)
        return made_run({**run, "inputs": "", "outputs": None}, self._whole({run_id: run}))

    def trace(self, key: str) -> Trace:
        """Read all runs of a trace, the oldest first.

        Args:
            key: A trace id, or a trace key, which is your own name for a trace, such as
                ``order-17``. If several traces have the same key, all their runs are returned.

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
                make_unmatched(record, self._load)
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
        tz: str | None = None,
    ) -> dict[str, Any]:
        """Return the data of the project's overview page, in the format of ``GET .../overview``.

        The key `findings` lists the problems, such as worse versions, new errors and crashed runs,
        the worst first. Each problem has a filter `where`, which selects its runs. The keys
        `models` and `users` contain the tables of models and users.

        Args:
            last: The period that ends now: ``1h``, ``24h``, ``7d`` or ``30d``.
            models: What the rows of the model table are: ``model`` (your models),
                ``provider_model`` (LLMs) or ``version``.
            users: What the rows of the user table are: ``user``, ``session``, or a tag such as
                ``tags["client"]``.
            order: Sort order of both tables: ``cost``, ``runs``, ``errors``, ``p95`` (latency) or
                ``tokens``, the largest first, or ``quality``, the worst first.
            tz: IANA time zone of the buckets, such as ``Europe/Berlin``. None for UTC.

        Raises:
            BadQuery: An argument has a value that is not listed above.
        """
        asked = {"last": last, "models": models, "users": users, "order": order}
        if tz is not None:
            asked["tz"] = tz
        for name, value in asked.items():
            check_text(name, value)
        answer: dict[str, Any] = self._get("overview", **asked)
        return answer

    def models(self) -> list[Model]:
        """List the models, the most recently active first."""
        models = self._get("models")["models"]
        return [made(Model, item, page=self._page("models", item["model"])) for item in models]

    def versions(self, model: str) -> list[Version]:
        """Return the versions of a model, the newest first.

        Raises:
            NotFound: There is no such model.
        """
        versions = self._get("models", check_text("model", model), "versions")["versions"]
        return [self._version(item) for item in versions]

    def version(self, model: str, number: int | None = None) -> Version:
        """Return one version of a model: ``version("churn", 3)`` or ``version("churn:v3")``.

        Args:
            model: Name of the model, such as ``churn``. Without `number`, name a version too:
                ``churn:v3``, or ``churn@champion`` for the version with the alias ``champion``.
            number: Version number of the model.

        Raises:
            NotFound: There is no such version, or no version has this alias.
            ValueError: `number` is missing and `model` does not name a version.
        """
        check_text("model", model)
        if number is None:
            model, number = self._named(model)
        check_integer("number", number, 1, _INT64_MAX)
        return self._version(self._get("models", model, "versions", str(number)))

    def _named(self, text: str) -> tuple[str, int]:
        """Split a version's name, ``churn:v3`` or ``churn@champion``, into model and number."""
        if numbered := NUMBERED.fullmatch(text):
            return numbered[1], int(numbered[2])
        model, at, alias = text.rpartition("@")
        if not at or not model:
            expected = "a version such as churn:v3 or churn@champion, or a number as well"
            raise invalid("model", text, expected)
        aliases = [item for item in self.aliases(model).aliases if item.alias == alias]
        if not aliases or aliases[0].version is None:
            raise NotFound(f"No version of {model!r} is called {alias!r}")
        return model, aliases[0].version

    def releases(self, model: str | None = None, where: str = "") -> list[dict[str, Any]]:
        """Compare each new model version, service release and LLM with the one before it.

        Returns the comparisons of the last 14 days, the newest version first. A comparison is a
        dict in the format of ``GET .../releases``, with these keys, among others:

        * `word`: the verdict, such as ``worse``
        * `sentence`: the verdict in words
        * `figures`: error rate, latency, cost and scores before and after, with confidence
          intervals
        * `for_whom`: the tag values, such as one client, for which it is worse

        Args:
            model: Only releases of this model. None for all models.
            where: A filter, such as ``tags["country"] == "PL"``. Only matching runs are compared.

        Raises:
            BadQuery: The filter is invalid.
        """
        if model is None:
            path: tuple[str, ...] = ("releases",)
        else:
            path = ("models", check_text("model", model), "release")
        asked = {"where": check_text("where", where, may_be_empty=True) or None}
        releases: list[dict[str, Any]] = self._get(*path, **asked)["releases"]
        return releases

    def findings(self, *, last: str = "24h", than: str = "28d") -> list[dict[str, Any]]:
        """Return the problems and changes in the project, the worst first.

        Each is a dict in the format of ``GET .../findings``, with these keys, among others:

        * `sentence`: the problem in words
        * `where`: filter that selects the affected runs
        * `kind`: ``broken`` (data are missing or have another type), ``release`` (a release is
          worse), ``model`` (outputs, scores, latency or cost drifted), ``slice`` (a group of runs
          does worse than all others) or ``traffic`` (the inputs drifted)
        * `field`: path of the field that has the problem, such as ``inputs.age``. Empty if the
          problem is not in a field.

        Args:
            last: The period to check, ending now: ``1h``, ``24h``, ``7d`` or ``30d``.
            than: Length of the earlier period to compare with: ``24h``, ``7d`` or ``28d``.

        Raises:
            BadQuery: An argument has a value that is not listed above.
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
        """Find the groups of runs that do worse than all other runs, the worst first.

        A slice is a group of runs with the same value of a tag or field, such as ``client =
        lakeview``. The result has the format of ``GET .../slices``. Its list `slices` has a dict
        for each slice, with these keys, among others: `sentence` (the result in words), `where`
        (filter that selects its runs), `excess` (lower bound for the number of extra failures), and
        `cells` (one comparison for each entry of `figures`, such as errors or latency).

        Args:
            where: A filter. Only matching runs are compared.
            figure: What to compare. One of ``errors``, ``missing inputs``, ``latency``, ``cost``,
                the name of a judge, ``truth churned`` for the prediction target *churned*, or
                ``drift inputs.language`` for slices whose values of this field differ from those
                of all other runs. If empty, all of these are compared.
            start: Only runs that started at or after this time. Default: 24 hours ago.
            end: Only runs that started before this time.
            pairs: Also return combinations of two conditions that are worse than either alone.

        Raises:
            BadQuery: The filter or the figure is invalid.
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
        """Return how consistently a model answers when it gets the same input several times.

        Uses the newest 10,000 production runs of each version. The result has these keys:

        * `versions`: for each version, the share of repeated inputs that got different answers, the
          probability that two runs with the same input give the same answer, and how much the
          scores of such runs differ. All have 95 % confidence intervals.
        * `comparison`: which of two versions is more consistent, in a sentence
        * `groups`: the repeated inputs of one version. Each group has a filter, `where`, that
          selects its runs.

        Args:
            model: The model's name.
            version: Number of the version for `groups` and `comparison`. Default: the newest
                version with repeated inputs.
            against: Number of the version to compare it with.

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
        self, model: str, *, last: str = "24h", than: str = "reference", where: str = ""
    ) -> dict[str, Any]:
        """Check all fields of a model for drift: inputs, outputs, params, latency, cost and scores.

        The result has the format of ``GET .../fields``. Its list `fields` has a dict for each
        field, with these keys, among others:

        * `sentence`: the result in words
        * `word`: ``drift``, ``as before``, or ``too few`` (not enough runs to decide)
        * `change`: likely cause of the drift. ``broken``: more values are missing or have another
          type. ``traffic``: the inputs drifted. ``model``: the inputs did not drift, but outputs,
          scores, latency or cost did.

        Args:
            model: The model's name.
            last: Length of the period to check: ``1h``, ``24h`` or ``7d``. The newest complete one
                is used.
            than: What to compare with. ``28d``: the 28 days before. ``reference``: the table that
                you imported as the model's reference, or else ``28d``. ``version``: the version
                before. You can also name a version (``version:3``), two dates
                (``2026-11-01/2026-11-08``), a data set (``dataset:qa``) or a profile
                (``profile:churn``).
            where: A filter on the runs. Empty for all.
        """
        answer: dict[str, Any] = self._get(
            "fields", **_ask_fields(model, last=last, than=than, where=where)
        )
        return answer

    def profiles(self) -> list[dict[str, Any]]:
        """List the profiles of the project, the newest version of each.

        A profile describes which input and output values of a model are normal. To check a model's
        recent runs against one, call ``reader.fields(model, than="profile:NAME")``.

        Each profile is a dict in the format of ``GET .../profiles``. Its keys are `name`, `number`,
        `version` and `components` (the definition of each input and output), among others.
        """
        profiles: list[dict[str, Any]] = self._get("profiles")["profiles"]
        return profiles

    def field(
        self, name: str, *, model: str, last: str = "24h", than: str = "reference", where: str = ""
    ) -> dict[str, Any]:
        """Return how one field of a model drifted: distributions, drift over time, typical runs.

        The result has the format of ``GET .../fields/{field}``.

        Args:
            name: Path of the field, such as ``inputs.question``.
            model: The model's name.
            last: Length of the period to check: ``1h``, ``24h`` or ``7d``.
            than: What to compare with, such as ``reference``, ``28d`` (the 28 days before) or
                ``version:3``. See `fields` for all values.
            where: A filter on the runs. Empty for all.

        Raises:
            NotFound: The model has no such field.
        """
        answer: dict[str, Any] = self._get(
            *("fields", check_text("name", name)),
            **_ask_fields(model, last=last, than=than, where=where),
        )
        return answer

    def aliases(self, model: str) -> Aliases:
        """Return the current aliases of a model's versions, and the history of their changes.

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
        """Move an alias to a version of a model. The key needs the scope ``annotate``.

        Args:
            model: The model's name.
            alias: The alias, such as ``champion``.
            version: Version number. None removes the alias.
            by: Who moves the alias. Default: the name of the API key.
            move_id: Your own id for this move. If you send the move again with the same id, it is
                stored only once.

        Returns:
            The aliases after the move.

        Raises:
            NotFound: There is no such version.
            BadQuery: The alias is not a valid name.
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
        """List the judges and their scores, sorted by name. Notebooks show a table.

        Each judge is a dict in the format of ``GET .../judges``, with these keys:

        * `judge` and `description`: its name and what it judges
        * `versions`: number of versions
        * `newest`: pass rate and mean score of the newest version
        * `others`: pass rate and mean score of every older version. Scores of different versions
          are never mixed.
        """
        return list_judges(self._get("judges")["judges"], self._api.page, self.project)

    def judge_versions(self, judge: str) -> list[dict[str, Any]]:
        """Return the versions of a judge with their code and scores, the newest first.

        The format is that of ``GET .../judges/{judge}/versions``. Each version is a dict with its
        code, pass rate, mean score, a histogram of its scores, and its scores per day. Each bar of
        the histogram and each day has a filter `where`, which selects its runs.

        Raises:
            NotFound: There is no such judge.
        """
        answer = self._get("judges", check_text("judge", judge), "versions")
        versions: list[dict[str, Any]] = answer["versions"]
        return versions

    def judge_strictness(self, judge: str, version: int, against: int) -> dict[str, Any]:
        """Compare how strict two versions of a judge are, on the runs that both scored.

        The result is a dict in the format of the HTTP API, with these keys, among others:

        * `sentence`: whether `version` is stricter than `against`, by how much, and how certain
          that is
        * `flipped_to_fail`: the runs that pass with `against` and fail with `version`. It is a
          dict: `runs` is their number, and `where` is a filter that selects them. None if the judge
          only returns scores.
        * `flipped_to_pass`: the same for runs that fail with `against` and pass with `version`

        Args:
            judge: The judge's name.
            version: Version number of the judge.
            against: Number of the version to compare with.

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
        """Return how well a judge agrees with human reviewers and with other judges.

        The result has these keys. All intervals are 95 % confidence intervals.

        * `versions`: for each version that scored labelled runs, the confusion table of judge and
          reviewers, their agreement, and Cohen's kappa
        * `people`: how well the reviewers agree with each other, as Krippendorff's alpha
        * `corrected`: the pass rate of the judge's newest version, corrected with the reviewers'
          labels. It estimates the pass rate that reviewers would find if they labelled all runs
          that the judge scored. None if no labelling queue samples runs at random.
        * `judges`: the agreement with every other judge, on the runs that both scored
        """
        found: dict[str, Any] = self._get("judges", check_text("judge", judge), "agreement")
        return found

    def queues(self) -> list[dict[str, Any]]:
        """List the labelling queues, sorted by name, as ``GET .../queues`` returns them.

        A labelling queue asks reviewers the same question about each run that matches a filter.
        Each queue is a dict with the filter, the question, the possible answers, and `progress`
        (how many runs are labelled).
        """
        queues: list[dict[str, Any]] = self._get("queues")["queues"]
        return queues

    def queue(self, name: str) -> dict[str, Any]:
        """Return one labelling queue, in the form that `queues` uses.

        Raises:
            NotFound: There is no such queue.
        """
        found: dict[str, Any] = self._get("queues", check_text("name", name, _MOST_CHARS))
        return found

    def queue_agreement(self, name: str) -> dict[str, Any]:
        """Return how well reviewers and judges agree on the runs of a labelling queue.

        The result has the same keys as that of `judge_agreement`.

        Raises:
            NotFound: There is no such queue.
        """
        path = ("queues", check_text("name", name, _MOST_CHARS), "agreement")
        found: dict[str, Any] = self._get(*path)
        return found

    def alerts(self) -> dict[str, Any]:
        """List the alert rules with their states, the most urgent first.

        The result has the format of ``GET .../alerts``. Its list `mutes` contains the mutes, which
        stop notifications for a time. Its list `alerts` has a dict for each rule:

        * `rule`: the settings of the rule
        * `state`: such as ``firing``
        * `slices`: state of each group, if the rule is evaluated per group of runs, such as per
          client
        * `days`: state on each of the last 30 days
        """
        alerts: dict[str, Any] = self._get("alerts")
        return alerts

    def check_alert(self, name: str, *, since: str = "30d") -> dict[str, Any]:
        """Return when an alert rule, with its current settings, would have fired in the past.

        Nobody is notified. The result has the format of ``GET .../alerts/{alert}/check``. `firings`
        lists when the rule would have fired, the newest first. `slices` lists the groups of runs,
        such as clients, that would have had the longest alerts. Each group has the values over time
        that the rule would have checked.

        Args:
            name: The rule's name.
            since: Start of the period: how long ago, such as ``30d``, or a time.

        Raises:
            NotFound: There is no rule of that name.
        """
        asked = {"since": check_text("since", since)}
        path = ("alerts", check_text("name", name), "check")
        history: dict[str, Any] = self._get(*path, **asked)
        return history

    def alert_deliveries(self, rule: str = "") -> dict[str, Any]:
        """List the newest 20 alert notifications to each receiver, such as a chat channel.

        The result has the format of ``GET .../alert-deliveries``. Its list `targets` has a dict for
        each receiver. The key `deliveries` of this dict lists the notifications: when each was
        delivered, the number of attempts (`tries`), and the last error (`trouble`).

        Args:
            rule: Only notifications of this alert rule. Empty for all rules.

        Raises:
            NotFound: There is no rule of that name.
        """
        asked = {"rule": check_text("rule", rule, may_be_empty=True)}
        deliveries: dict[str, Any] = self._get("alert-deliveries", **asked)
        return deliveries

    def activity(
        self, *, last: str = "", kind: str = "", limit: int = 50, cursor: str = ""
    ) -> dict[str, Any]:
        """List who changed what in the project, the newest change first, in the last 400 days.

        The result has the format of ``GET .../activity``. Its list `entries` has a dict for each
        change, with these keys, among others:

        * `who`: name of the key, user or reviewer, and ``local`` without keys. Empty if unknown.
        * `program`: ``page``, ``command``, ``assistant`` or ``api``
        * `kind`, `name` and `action`: what was changed, such as ``alert rule``, ``slow``,
          ``changed``
        * `changes`: the changed fields, each with its value `before` and `after`

        Args:
            last: Only changes of this time up to now, such as ``24h``. Empty for all.
            kind: Only changes of this kind, such as ``alert rule``. Empty for all.
            limit: Maximum number of changes.
            cursor: The `next_cursor` of an earlier result, for the changes after it.

        Raises:
            BadQuery: An argument is invalid.
        """
        asked = {
            "last": check_text("last", last, may_be_empty=True) or None,
            "kind": check_text("kind", kind, may_be_empty=True) or None,
            "limit": check_integer("limit", limit, 1, _INT64_MAX),
            "cursor": check_text("cursor", cursor, may_be_empty=True) or None,
        }
        activity: dict[str, Any] = self._get("activity", **asked)
        return activity

    def settings(self) -> dict[str, Any]:
        """Return the settings of the project: alert receivers, retention, stored bytes, LLM prices.

        The result has the format of ``GET .../settings``. Addresses and secrets of receivers are
        left out. Prices are in US dollars per million tokens.
        """
        settings: dict[str, Any] = self._get("settings")
        return settings

    def save_alert(self, name: str, **wanted: Any) -> dict[str, Any]:
        """Create an alert rule, or replace the rule of that name.

        Returns the saved rule. Its entry `past` shows how often the rule would have fired in the
        last 7 days: it contains the numbers, and a `sentence` that summarizes them. Your API key
        needs the scope ``admin``.

        Args:
            name: The rule's name.
            wanted: Settings of the rule, such as ``when='surely(error_share > 0.05)'``.

        Raises:
            ValueError: The value of a setting cannot be written as JSON.
            BadQuery: A setting is invalid.
        """
        path = ("projects", self.project, "alerts", check_text("name", name))
        for field, value in wanted.items():
            try:
                orjson.dumps(value)
            except TypeError as error:
                raise invalid(field, value, "a JSON value") from error
        saved: dict[str, Any] = self._api.ask(Question(path, method="PUT", body=wanted))
        return saved

    def targets(self) -> dict[str, Any]:
        """List the prediction targets, as ``GET .../targets`` returns them.

        A prediction target defines which part of a model's output predicts which ground truth. For
        example, ``outputs.label`` of the model ``churn`` predicts ``churned``. The result has:

        * `targets`: model, `prediction` (path of the predicted value) and `kind` (``class``,
          ``number`` or ``ranking``) of each target
        * `truths`: names of ground truth that was received, but that no target uses yet
        """
        targets: dict[str, Any] = self._get("targets")
        return targets

    def target(self, name: str) -> TargetHandle:
        """Return a handle for a prediction target, to measure how good its predictions are.

        A prediction target defines which part of a model's output predicts which ground truth.
        Example: ``reader.target("churned").quality(last="60d")``. Creating the handle sends no
        request.

        Args:
            name: Name of the target. If you have not saved a target, pass the name of the ground
                truth.
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
        """Save a prediction target: the part of a model's output that predicts a ground truth.

        Then `target` can measure how good the predictions are. A target with the same name is
        replaced. The key needs the scopes ``read`` and ``annotate``.

        Args:
            name: Name of the target. Also the name of the ground truth unless you pass `truth`.
            model: The model whose runs make the prediction.
            prediction: Path of the predicted value, such as ``outputs.label``.
            kind: ``class`` for one of several classes, ``number``, or ``ranking`` for a list with
                the best first.
            positive: The class to detect. Only for kind ``class``.
            probability: For kind ``class``: path of the probability of `positive`, such as
                ``outputs.p``.
            truth: Name of the ground truth, if it differs from `name`.
            k: For kind ``ranking``: how many of the first elements count.

        Returns:
            The target with its `version`.

        Raises:
            BadQuery: A path is not part of the outputs, or an option does not fit the kind.
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
        """Delete a prediction target and return it. Its ground truth is kept.

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
    ) -> MatchedActuals:
        """Store a table of ground truth (what turned out to be correct) for your runs.

        All rows are on disk when the call returns. The runs may arrive later than their ground
        truth. Importing the same table again stores nothing twice, so repeat the import after an
        error. Rows are sent in requests of 1,000.

        Args:
            frame: A pandas, polars or pyarrow table, a structured NumPy array, or a list of
                mappings. Rows without a key or a value are skipped.
            name: Name of the ground truth, such as ``churned``.
            key: Column that identifies the run.
            value: Column of the ground truth: texts, numbers, bools or lists.
            by: What the key column holds: ``run_id``, ``trace_id``, ``trace_key``, or ``tag`` for
                the values of a tag with the same name as the column. Default: the column's name if
                it is one of the first three, else ``tag``.
            time: Column of the times when the value became known. Default: now. If a run gets two
                values, the later one is used.

        Returns:
            How many rows were received, and how many matched a run, wait for one, or are unmatched.
            If rows are unmatched, a warning is logged with some of their keys. If no row matched,
            it names the tags of your runs that have such values.

        Raises:
            ValueError: A column is missing, or a value is of a type that ground truth cannot have.
            BadQuery: The collector rejects a row. The rows of earlier requests are stored.
        """
        matches = MatchedActuals()
        for part in write_actuals(frame, name, key, value, by=by, time=time):
            answer = self._post({"evaluations": part}, "evaluations")
            matches += read_matches(answer.get("ground_truth"), len(part))
        if matches.unmatched:
            _logger.warning("%s", matches)
        return matches

    def sessions(self, where: str = "", *, limit: int = 50) -> Rows:
        """List the sessions that contain a matching run, the most recently active first.

        Notebooks show a table. Each session is a dict in the format of ``GET .../sessions``, with
        the number of turns and runs, tokens, cost and scores. These numbers cover the whole
        session, not only its matching runs.

        Args:
            where: A filter on runs, such as ``user == "ada"``. Empty for all.
            limit: Maximum number of sessions, from 1 to 1,000.

        Raises:
            BadQuery: The filter is invalid.
        """
        check_text("where", where, _MOST_CHARS, may_be_empty=True)
        check_integer("limit", limit, 1, 1_000)
        answer = self._get("sessions", where=where or None, limit=limit)
        return list_sessions(answer["sessions"], self._api.page, self.project)

    def session(self, session: str) -> dict[str, Any]:
        """Return one session with all of its turns, as ``GET .../sessions/{session}`` returns it.

        All turns are in one list, even if the session has so many runs (over 1,000) that several
        requests are needed.

        Raises:
            NotFound: No run belongs to this session.
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
        """Return the metrics of a run or of a model version, by name.

        Pass either `run_id`, or `model` and `version`.

        Args:
            run_id: Id of the run.
            name: Only this metric. None for all.
            model: Name of the model.
            version: Version number of the model.
            points: Maximum number of points per metric, from 1 to 100,000. A longer series is
                thinned out, but its peaks are kept.

        Raises:
            NotFound: There is no such version.
            ValueError: You passed neither a run nor a version, or both.
        """
        _check_texts(run_id=run_id, name=name, model=model)
        if version is not None:
            check_integer("version", version, 1, _INT64_MAX)
        check_integer("points", points, 1, _MOST_POINTS)
        if (run_id is None) == (model is None or version is None):
            raise ValueError("Expected either run_id, or model and version")
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
        """List logged artifacts, the newest first. Call `Artifact.load` to get a value.

        Args:
            run_id: Only artifacts of this run.
            trace: Only artifacts of this trace: a trace id, or your own trace key.
            start: Only artifacts logged at or after this time.
            end: Only artifacts logged before this time.
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
        """Return the newest value that was logged under a name, with its original type.

        Pass either `run_id` or `trace`.

        Args:
            ref: The name under which the value was logged.
            run_id: Id of the run that logged the value.
            trace: The trace that logged the value: a trace id, or your own trace key.

        Raises:
            NotFound: Nothing was logged under this name.
            ValueError: You passed neither a run nor a trace, or both. It is also raised if the
                value has a custom type that is not registered in this process.
            ImportError: The value needs a package that is not installed.
        """
        check_text("ref", ref)
        _check_texts(run_id=run_id, trace=trace)
        if (run_id is None) == (trace is None):
            raise ValueError("Expected either run_id or trace")
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
        """Store a reviewer's label for a run, or the run's ground truth.

        The run may arrive later. The feedback is on disk when the call returns. The key needs the
        scope ``annotate``.

        Args:
            judge: What is rated, such as ``thumbs`` or ``helpful``. For ground truth, its name.
            run_id: The run. Pass exactly one of `run_id`, `trace_id`, `trace_key` and `tag`.
            trace_id: The trace.
            trace_key: Your own trace key; applies to all traces with this key.
            tag: A tag as ``name=value``; applies to all runs with this tag.
            score: A number, such as 1 to 5. Use the same scale for all feedback of one name.
            passed: Whether the run is good enough.
            label: A word for the answer, such as ``refund``.
            explanation: The reason.
            source: ``human`` for a reviewer, ``actual`` for ground truth, or ``agent`` for an
                automatic program. Values of an agent never count as scores.
            actual: Value of the ground truth: a text, number, bool or list. It sets `source` to
                ``actual`` and can only be combined with `explanation`.
            time: Time of the feedback. Default: now. If feedback is repeated, the latest is used.
            statement_id: Your own id for the feedback. Feedback that you send twice under one id is
                stored once.

        Returns:
            The id under which the feedback is stored.

        Raises:
            ValueError: An argument is invalid, for example `actual` has an unsupported type.
            BadQuery: The collector rejects a value. The message names it.
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
            "id": statement_id or uuid4().hex,  # so that a retried request is stored once
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
        """List the newest complete version of each data set, the most recently saved first."""
        datasets = self._get("datasets")["datasets"]
        return [made(DatasetVersion, item) for item in datasets]

    def dataset_versions(self, name: str) -> list[DatasetVersion]:
        """List the versions of a data set and what changed in each of them, the newest first.

        Raises:
            NotFound: There is no such data set.
        """
        check_text("name", name, _MOST_CHARS)
        found = self._all("versions", "datasets", name, "versions", limit=_PAGE_OF_VERSIONS)
        return [made(DatasetVersion, item) for item in found]

    def dataset_items(self, name: str, version: int) -> Iterator[DatasetItem]:
        """Return the items of a data set version, sorted by id.

        Arrays, tables and images have the same type as when they were saved.

        Args:
            name: Name of the data set.
            version: Version number.

        Raises:
            NotFound: There is no such version, or the content of an array, table or image is
                missing.
        """
        path = _dataset_path(name, version, "items")
        return map(self._item, self._all("items", *path, limit=_ITEMS))

    def _item(self, facts: dict[str, Any]) -> DatasetItem:
        values = {part: self._typed(facts[part]) for part in ("inputs", "expected")}
        return made(DatasetItem, {**facts, **values})

    def dataset_diff(self, name: str, version: int, against: int) -> DatasetDiff:
        """Return which items were added, removed or changed between two versions of a data set.

        Args:
            name: Name of the data set.
            version: Number of the newer version.
            against: Number of the version to compare with.

        Raises:
            NotFound: One of the versions does not exist.
        """
        path = _dataset_path(name, version, "diff")
        answer = self._get(*path, against=check_integer("against", against, 1, _INT64_MAX))
        items = [made(ChangedItem, item) for item in answer["items"]]
        return made(DatasetDiff, answer, items=items)

    def dataset_coverage(self, name: str, version: int) -> DatasetCoverage:
        """Return how well a data set represents production, and where it has too few items.

        For each frequent value of a tag, such as ``client = lakeview``, the result shows its share
        of the production runs and its share of the items.

        Args:
            name: Name of the data set.
            version: Version number.

        Raises:
            NotFound: There is no such version.
        """
        answer = self._get(*_dataset_path(name, version, "coverage"))
        slices = [made(CoveredSlice, item) for item in answer["slices"]]
        return made(DatasetCoverage, answer, slices=slices)

    def experiments(
        self, where: str = "", *, limit: int | None = None, verdicts: bool = False
    ) -> Experiments:
        """List experiments, the newest first. No request is sent until you iterate over the list.

        Args:
            where: A filter such as ``dataset == "qa" and last("7d")``. The filter language is
                described in docs/api.md. Empty for all.
            limit: Maximum number of experiments. None for all.
            verdicts: Whether to include the results of each experiment: its `verdict`, and its
                `values`, which are the pass rate or mean score of each judge.
        """
        check_text("where", where, _MOST_CHARS, may_be_empty=True)
        if limit is not None:
            check_integer("limit", limit, 0, _INT64_MAX)
        check_flag("verdicts", verdicts)
        return Experiments(self._api, self.project, where, limit, verdicts=verdicts)

    def experiment(self, run_id: str) -> StoredExperiment:
        """Return one experiment without its verdict. Use `otel_ml.load_result` for the full result.

        Raises:
            NotFound: There is no such experiment.
        """
        check_text("run_id", run_id, _MOST_CHARS)
        answer = self._get("experiments", run_id, baseline=_NO_BASELINE)
        return made_experiment(answer["experiment"], self._api, self.project)

    def experiment_rows(self, run_id: str, baseline: str = _NO_BASELINE) -> Iterator[ExperimentRow]:
        """Return the items of an experiment, sorted by id, each with its runs in the experiment.

        Args:
            run_id: Run id of the experiment.
            baseline: Run id of an experiment to compare with. Its runs are returned with each item
                too. ``recorded`` compares a replay with its original runs. ``none`` compares with
                nothing.

        Raises:
            NotFound: There is no such experiment or baseline.
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
        where: str = "",
        by: str = "",
        pairs: int = 5,
    ) -> StoredComparison:
        """Compare runs, versions or experiments with a baseline, as ``GET .../compare`` returns it.

        The result has a `sentence`, the params that differ, and `sides`: one per compared run,
        version or experiment, with its params and metrics. Versions and experiments also have a
        verdict, and `pairs`: what they and the baseline returned for equal inputs.

        Args:
            of: Two to six run ids, versions such as ``answer:v3`` or ``answer@champion``, or run
                ids of experiments. Up to 50 run ids if the runs logged metrics.
            baseline: The entry of `of` that the others are compared with. Default for runs: the
                first. Default for versions: the oldest. Default for experiments: the one that
                another experiment in `of` used as its baseline, else the newest with the tag
                ``baseline``, else the oldest.
            metric: Metric that the sentence compares. Default: a metric that most entries have.
            lower: Metrics for which lower is better, regardless of their names.
            higher: Metrics for which higher is better.
            where: A filter. For versions, only recorded runs that match it are compared.
            by: A tag, such as ``country``. For versions, recorded runs are also compared for each
                of its values.
            pairs: For versions and experiments: maximum number of pairs of outputs for equal
                inputs, from 0 to 50. 0 is faster.

        Raises:
            NotFound: One of the entries does not exist.
            BadQuery: The entries mix runs, versions and experiments, or there are too few or too
                many.
        """
        asked = {
            "of": _names("of", of),
            "baseline": check_optional_text("baseline", baseline, _MOST_CHARS),
            "metric": check_optional_text("metric", metric, _MOST_CHARS),
            "lower": _names("lower", lower),
            "higher": _names("higher", higher),
            "where": check_text("where", where, may_be_empty=True) or None,
            "by": check_text("by", by, may_be_empty=True) or None,
            "pairs": check_integer("pairs", pairs, 0, _MOST_PAIRS),
        }
        answer = self._get("compare", **asked)
        return StoredComparison(answer, FileSource(self._api, (self.project, "compare"), asked))

    def _typed(self, value: Any) -> Any:
        """Replace references to stored documents by the values that they hold."""
        if isinstance(value, dict):
            if value.keys() == {ARTIFACT_TYPE, ARTIFACT_SHA256}:
                return _value(self._download(value[ARTIFACT_SHA256]), value[ARTIFACT_TYPE])
            return {key: self._typed(inner) for key, inner in value.items()}
        return [self._typed(inner) for inner in value] if isinstance(value, list) else value

    def export(
        self,
        kind: Format = "jsonl",
        where: str = "",
        *,
        start: Moment = None,
        end: Moment = None,
        tz: str | None = None,
        columns: str = "",
    ) -> Iterator[bytes]:
        """Export finished runs as one file, the oldest run first. Yields chunks of bytes.

        Write the chunks to a file opened with ``"wb"``. The export needs little memory, whatever
        its size, because each chunk is fetched as you iterate.

        Args:
            kind: File format: ``jsonl``, ``csv`` or ``parquet``.
            where: A filter, as for `runs`. Empty for all runs.
            start: Only runs that started at or after this time.
            end: Only runs that started before this time.
            tz: IANA time zone, as for `runs`. None for UTC.
            columns: Comma-separated column names. ``*`` for all columns including inputs and
                outputs. Default: the same columns as in the results of `runs`.

        Raises:
            Unreachable: The connection broke. The chunks so far are not a complete file.
        """
        check_one_of("kind", kind, ("jsonl", "csv", "parquet"))
        check_text("columns", columns, _MOST_CHARS, may_be_empty=True)
        wanted = self._wanted(where, start, end, None, OLDEST, tz=tz)
        return export(self._api, wanted, kind, columns)

    def _get(self, *path: str, **asked: object) -> Any:
        return self._api.get("projects", self.project, *path, **asked)

    def _all(self, name: str, *path: str, **asked: object) -> Iterator[dict[str, Any]]:
        return self._api.all(name, "projects", self.project, *path, **asked)

    def _post(self, body: object, *path: str) -> Any:
        return self._api.ask(Question(("projects", self.project, *path), method="POST", body=body))

    def _wanted(
        self,
        where: str,
        start: Moment,
        end: Moment,
        limit: int | None,
        order: str,
        *,
        tz: str | None = None,
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
            tz="" if tz is None else check_text("tz", tz),
        )

    def _page(self, *parts: str, **asked: str | None) -> str:
        return page_address(self._api.page, self.project, *parts, **asked)

    def _version(self, facts: dict[str, Any]) -> Version:
        return made(Version, facts, page=self._version_page(facts["model"], facts["version"]))

    def _version_page(self, model: object, version: object) -> str:
        return self._page("models", str(model), to=str(version))

    def _is_ours(self, facts: dict[str, Any]) -> bool:
        return bool(facts["project"] == self.project)

    def _whole(self, known: dict[str, dict[str, Any]]) -> Whole:
        def fetch(run_id: str, name: str) -> dict[str, Any]:
            return fetch_part(self._api, self.project, run_id, name)

        return Whole(fetch, self._load, known, self._api)

    def _load(self, artifact: Artifact) -> Any:
        if artifact.sha256 is None:
            return self.artifact(artifact.ref, run_id=artifact.run_id)
        return _value(self._download(artifact.sha256), artifact.type)

    def _download(self, sha256: str) -> bytes:
        """Fetch a logged value as the file that is stored."""
        return self._api.download(Question(("projects", self.project, "artifacts", sha256)))


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
    """Check the arguments and return the path of a part of a data set version."""
    check_text("name", name, _MOST_CHARS)
    check_integer("version", version, 1, _INT64_MAX)
    return "datasets", name, "versions", str(version), part


def _names(argument: str, given: Any) -> list[str]:
    """Check that the argument is a list of texts and return it as a plain list."""
    if not issubclass(type(given), list | tuple):
        raise invalid(argument, given, "a list of texts")
    return [check_text(argument, item, _MOST_CHARS) for item in given]


def _check_texts(**given: object) -> None:
    for argument, value in given.items():
        check_optional_text(argument, value, _MOST_CHARS)


def _value(document: Any, kind: str = "") -> Any:
    from otel_ml import types  # slow import, needed only to load values

    return types.load(document, kind).data


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
