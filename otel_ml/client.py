"""`Client`: the entry point of the SDK, which records the runs of one project."""

import inspect
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

from opentelemetry import trace as trace_api

from otel_ml import attributes as names
from otel_ml.arguments import (
    check_flag,
    check_key,
    check_mapping,
    check_one_of,
    check_optional_text,
    check_seconds,
    check_text,
    choose_project,
    find_similar,
    invalid,
    show,
)
from otel_ml.errors import quiet
from otel_ml.experiments.options import (
    BACKFILLED,
    EVALUATED,
    REPLAYED,
    BackfillOptions,
    EvaluateOptions,
    ReplayOptions,
)
from otel_ml.functions import (
    DEFAULTS,
    UNJUDGED,
    Judging,
    Options,
    TracedFunction,
    check_options,
)
from otel_ml.late import late
from otel_ml.libraries.options import RECORDED, ModelOptions, check_model_options
from otel_ml.notebook import Card, HasCard, page_address
from otel_ml.outlet import Join, Route
from otel_ml.process import deliver_at_sigterm
from otel_ml.recorder import Recorder, Stats
from otel_ml.redaction import SECRET_KEYS, Redact, Redaction
from otel_ml.runs import OpenedRun, Run, current_run, open_run
from otel_ml.tags import Tags
from otel_ml.times import Time, check_past, check_time
from otel_ml.wrappers import decorate, wrap

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from typing_extensions import Unpack

    from otel_ml import data_quality, instrumentations, pickling, targets
    from otel_ml.experiments import backfill, stored_results
    from otel_ml.experiments import dataset as datasets
    from otel_ml.experiments import experiment as experiments
    from otel_ml.experiments import replay as replaying
    from otel_ml.experiments.backfill import Backfill
    from otel_ml.experiments.dataset import Dataset
    from otel_ml.experiments.result import Result
    from otel_ml.export.delivery import Delivery
    from otel_ml.imports import table_import
    from otel_ml.imports.table_import import TableImport, TableOptions
    from otel_ml.judges import judge as judging
    from otel_ml.judges.judge import Judge
    from otel_ml.libraries import instrument as model_libraries
    from otel_ml.libraries import table as library_table
    from otel_ml.profiles import checker as profile_checker
    from otel_ml.profiles import profile as profiling
    from otel_ml.profiles.profile import ModelProfile
    from otel_ml.reader import errors as reading
    from otel_ml.reader import targets as target_documents
    from otel_ml.reader.records import Run as StoredRun
    from otel_ml.reader.targets import TargetKind
    from otel_ml.targets import Elsewhere, TargetModel, Weights
else:
    backfill = late("experiments.backfill")
    data_quality = late("data_quality")
    datasets = late("experiments.dataset")
    experiments = late("experiments.experiment")
    table_import = late("imports.table_import")
    replaying = late("experiments.replay")
    stored_results = late("experiments.stored_results")
    reading = late("reader.errors")
    target_documents = late("reader.targets")
    instrumentations = late("instrumentations")
    library_table = late("libraries.table")
    model_libraries = late("libraries.instrument")
    pickling = late("pickling")
    profile_checker = late("profiles.checker")
    profiling = late("profiles.profile")
    judging = late("judges.judge")
    targets = late("targets")

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_CAPTURE_HIDDEN: Final = "OTEL_ML_CAPTURE_HIDDEN"

_logger = logging.getLogger(__name__)


def _show_options(options: type, defaults: Mapping[str, Any]) -> Callable[[F], F]:
    """Return a decorator that lists each option in a method signature, for `help` and notebooks."""

    def show(method: F) -> F:
        signature = inspect.signature(method)
        *others, _ = signature.parameters.values()
        named = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name),
                annotation=annotation,
            )
            for name, annotation in options.__annotations__.items()
        ]
        shown = signature.replace(parameters=[*others, *named])
        method.__signature__ = shown  # type: ignore[attr-defined]  # read by `inspect`
        return method

    return show


class Client(HasCard):
    """Records the model calls of one project and sends them to a collector.

    Creating a client opens no connection and starts no thread. Both happen at the first recorded
    call.

    Args:
        project: Name of the project that the runs belong to. Default: ``OTEL_ML_PROJECT``, else
            ``default``. At most 128 characters.
        api_key: Key that is sent as a bearer token. Default: ``OTEL_ML_API_KEY``. A collector on
            localhost needs no key.
        endpoint: Base URL of the collector. Default: ``OTEL_ML_ENDPOINT``, else the standard
            ``OTEL_EXPORTER_OTLP_*`` variables, else ``http://localhost:4318``.
        exporter: An OpenTelemetry span exporter to use instead of sending to `endpoint`.
        tracer_provider: The OpenTelemetry tracer provider that creates the spans. By default the
            client chooses one, see `join`.
        join: ``"auto"`` uses the global tracer provider if it is the OpenTelemetry SDK's own class,
            so that runs appear in the traces of your service. False never uses the global provider.
        spool: Directory for a disk queue. Each call is written there before it returns and deleted
            once it is delivered, so that neither ``kill -9`` nor hours without a collector lose a
            call. Use one directory per destination. Cannot be combined with `exporter`.
        flush_on_sigterm: Deliver queued spans for at most 2 s when the process receives SIGTERM.
            Create the client in the main thread. It has no effect if the program has its own
            SIGTERM handler. Child processes of `multiprocessing` always do this.
        redact: A function that is called with each string before the string leaves the process,
            including every key and value in inputs and outputs. It returns the string to send
            instead.
        redact_keys: Words that mark a key as secret, such as ``password``. Values under a key that
            contains one of these words are hidden. Pass an empty list to hide nothing.
        capture_hidden: Whether to record fields that a class keeps out of its ``repr`` or its dump:
            ``field(repr=False)`` of dataclasses, attrs and pydantic, and pydantic's
            ``Field(exclude=True)``. Default: False, unless ``OTEL_ML_CAPTURE_HIDDEN=on``.

    Raises:
        ValueError: An argument has the wrong type, both `exporter` and `spool` are given, or the
            project name is invalid: longer than 128 characters, ``.``, ``..``, or with control
            characters.
    """

    def __init__(  # noqa: PLR0913 - a client is set up once, by keyword
        self,
        project: str | None = None,
        api_key: str | None = None,
        endpoint: str | None = None,
        *,
        exporter: "SpanExporter | None" = None,
        tracer_provider: trace_api.TracerProvider | None = None,
        join: Join = "auto",
        spool: str | os.PathLike[str] | None = None,
        flush_on_sigterm: bool = False,
        redact: Redact | None = None,
        redact_keys: Iterable[str] = SECRET_KEYS,
        capture_hidden: bool | None = None,
    ) -> None:
        self.project = choose_project(project)
        route = Route(
            project=self.project,
            api_key=check_key(api_key) or os.environ.get("OTEL_ML_API_KEY"),
            endpoint=check_optional_text("endpoint", endpoint),
            exporter=exporter,
            tracer_provider=tracer_provider,
            join=join,
            spool=_check_destination(exporter, tracer_provider, join, spool),
        )
        self._judges: dict[str, Judge] = {}
        self._instrumented: dict[str, Any] = {}
        self._profiles: profile_checker.ProfileChecker | None = None
        if capture_hidden is None:
            capture_hidden = os.environ.get(_CAPTURE_HIDDEN, "").strip().lower() == "on"
        captures_hidden = check_flag("capture_hidden", capture_hidden)
        redaction = Redaction(redact, redact_keys, captures_hidden=captures_hidden)
        self._recorder = Recorder(route, redaction)
        if check_flag("flush_on_sigterm", flush_on_sigterm):
            why_not = deliver_at_sigterm()
            if why_not:
                _logger.warning("flush_on_sigterm is off: %s", why_not)

    @overload
    def trace(self, function: Callable[P, R], /) -> Callable[P, R]: ...

    @overload
    def trace(self, **options: "Unpack[Options]") -> Callable[[Callable[P, R]], Callable[P, R]]: ...

    @_show_options(Options, DEFAULTS)
    def trace(
        self, function: Callable[..., Any] | None = None, **options: "Unpack[Options]"
    ) -> Callable[..., Any]:
        """Record every call of a function as a run.

        Use it as a decorator, with or without options.

        Args:
            function: The function, if you use the decorator without options. It can be a sync
                function, an async function or a generator.
            options: Keyword options, see `otel_ml.functions.Options`.

        Returns:
            A wrapper with exactly the same results and errors as your function.

        Raises:
            ValueError: An option is invalid. The message names it.
            TypeError: The decorated object is a class or is not callable.
        """
        check_options("trace", options)
        record = self._decorator(options, UNJUDGED)
        return record if function is None else record(function)

    @_show_options(Options, DEFAULTS)
    def assess(
        self,
        *judges: "str | Judge",
        inline: bool = False,
        sample: float = 1.0,
        **options: "Unpack[Options]",
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Record every call of a function as a run, and score each run with judges.

        By default judges run in background threads after the call has returned.

        Args:
            judges: `Judge` objects, or tags that `add_judge` returned.
            inline: Run the judges before the call returns: in the calling thread for a sync
                function, without blocking the event loop for an async function.
            sample: Share of the runs to judge, from 0 (none) to 1 (all). They are chosen at random.
            options: Keyword options, as in `trace`.

        Raises:
            ValueError: An argument is invalid: for example, `sample` is not between 0 and 1, two
                judges have the same name, a tag is unknown to this client, or a judge needs an
                input that the function does not have. The message says which.
        """
        check_options("assess", options, ("inline", "sample"))
        judges_ = tuple(dict.fromkeys(self._judge(judge) for judge in judges))
        return self._decorator(options, Judging(judges_, inline, sample))

    def add_judge(self, judge: "Judge") -> str:
        """Register a judge with this client, so that `assess` can refer to it by its tag.

        Returns:
            The judge's tag, ``name@version``. The version is a hash of the judge's code, computed
            without contacting the collector. The collector assigns the short version number, such
            as ``v1``, later.

        Raises:
            ValueError: The argument is not a `Judge`.
        """
        _check_judge("judge", judge, "a Judge")
        self._judges[judge.tag] = judge
        return judge.tag

    def run(  # noqa: PLR0913 - each is a fact about the run, by keyword
        self,
        name: str,
        *,
        kind: str | None = None,
        inputs: object = None,
        params: Mapping[str, object] | None = None,
        tags: Tags = None,
        session: str | None = None,
        user: str | None = None,
        trace_key: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
    ) -> OpenedRun:
        """Open a run for code that is not a traced function, such as a training loop.

        Use it as a context manager, or call `Run.end`. A run that is still open ends when its
        object is garbage-collected or the process exits.

        Args:
            name: Name of the model.
            kind: Kind of run, as in `trace`. Default: ``chain`` if `session` is given and the run
                logs no metrics by step, else ``training``.
            inputs: Input of the run, such as a question. You can also set it later with
                `Run.set_input`.
            params: Hyperparameters of the run.
            tags: Tags to set on the run.
            session: ID of the conversation that the run belongs to.
            user: ID of the user that the run serves.
            trace_key: Your own ID for the trace. Runs in several processes can share it. Values for
                `trace_key`, `session` and `user` that are not strings are converted to text.
            start: When the run started, if that is in the past: a datetime with a time zone, an ISO
                8601 text with one, or nanoseconds since the epoch. The run is marked as history: it
                may be older than 400 days. Default: now.
            end: When the run ended, if that is in the past. Default: when the block ends or `end`
                is called.

        Raises:
            ValueError: An argument is invalid, such as an `end` before `start`, or a time more than
                an hour in the future. The message names the argument.
        """
        model = check_text("name", name)
        is_guessed = kind is None
        if kind is None:
            kind = "training" if session is None else "chain"
        check_one_of("kind", kind, names.KINDS)
        if params is not None:
            check_mapping("params", params, "a mapping of names to values, or None")
        given = {
            names.SESSION_ID: session,
            names.USER_ID: user,
            names.TRACE_KEY: trace_key,
            names.PARAMS: params,
        }
        past = check_past(start, end)
        run = open_run(self._recorder, model, kind, given, [tags], inputs=inputs, past=past)
        run._may_train = is_guessed
        return run

    def record_call(  # noqa: PLR0913 - each is a fact about the call, by keyword
        self,
        name: str,
        inputs: object,
        outputs: object,
        *,
        start: Time,
        end: Time | None = None,
        kind: str = "model",
        params: Mapping[str, object] | None = None,
        tags: Tags = None,
        session: str | None = None,
        user: str | None = None,
        trace_key: str | None = None,
        error: BaseException | None = None,
    ) -> str:
        """Record a call that has already happened, such as one from a log file.

        The call is marked as history: it may be older than 400 days. To import many calls, use
        `import_table`, which is faster and stores each call once.

        Args:
            name: Name of the model.
            inputs: Inputs of the call, such as a mapping of parameter names to values.
            outputs: What the call returned. Ignored if it failed.
            start: When the call started: a datetime with a time zone, an ISO 8601 text with one, or
                nanoseconds since the epoch.
            end: When the call ended. Default: now.
            kind: Kind of run, as in `trace`.
            params: Parameters of the call.
            tags: Tags to set on the run.
            session: ID of the conversation that the call belongs to.
            user: ID of the user that the call served.
            trace_key: Your own ID for the trace.
            error: The exception, if the call failed.

        Returns:
            The run ID. Pass it to `about` to add ground truth later.

        Raises:
            ValueError: An argument is invalid, such as an `end` before `start`, or a time more than
                an hour in the future. The message names the argument.
        """
        run = self.run(
            name,
            kind=kind,
            inputs=inputs,
            params=params,
            tags=tags,
            session=session,
            user=user,
            trace_key=trace_key,
            start=check_time("start", start),
            end=end,
        )
        if error is None:
            run.set_output(outputs)
        run.end(error)
        return run.id

    def about(
        self,
        *,
        run_id: str | None = None,
        trace_key: str | None = None,
        tag: tuple[str, object] | None = None,
    ) -> "Elsewhere":
        """Return a handle to add tags, text, metrics or feedback to runs by their ID, trace or tag.

        The runs may have ended, may be in another process, or may not exist yet. Pass exactly one
        argument.

        Args:
            run_id: The `Run.id` of one run.
            trace_key: The key that was passed as `trace_key` to `run`. The handle refers to
                the runs of this trace.
            tag: Name and value of a tag. The handle refers to all runs with this tag.

        Raises:
            ValueError: No argument or more than one is given, the run ID is malformed, or the tag
                is not a pair.
        """
        return targets.about(self._recorder.in_force, run_id, trace_key, tag)

    def model(
        self,
        name: str,
        params: Mapping[str, object] | None = None,
        artifact: "Weights | None" = None,
    ) -> "TargetModel":
        """Return a handle for a version of a model, such as a file of weights.

        Use the handle to log metrics, tags and data to the version, and to read them back. For a
        function, use `trace` instead, which creates versions automatically.

        The version is a hash of `params` and `artifact`. So you get the same version again with the
        same params and the same content. If you pass neither, the handle refers to the newest
        version of the model.

        Args:
            name: Name of the model.
            params: Parameters that the model was made with.
            artifact: The model's file, directory or bytes. The content is hashed, not sent.

        Raises:
            ValueError: The name is empty or longer than 1,024 characters, `params` is not a
                mapping, or the artifact cannot be read.
        """
        return targets.name_model(self._recorder.in_force, name, params, artifact)

    def import_table(
        self, table: Any, *, model: str, **options: "Unpack[TableOptions]"
    ) -> "TableImport":
        """Import a table of predictions, with one run per row.

        Each run gets the time, inputs, outputs, tags and ground truth of its row. A value that is
        missing in the table is also missing in the run. Imported rows never fire an alert.
        Importing a table twice stores each row once. Rows that cannot be imported are left out and
        counted by reason.

        Args:
            table: The path of a ``.parquet``, ``.csv`` or ``.jsonl`` file; a pandas, polars or
                pyarrow table; or a list of mappings.
            model: Name of the model that made the predictions.
            options: Options that say what each column contains, see `otel_ml.imports.TableOptions`.

        Returns:
            How many rows were stored and rejected. If rows have ground truth, also the prediction
            targets that compare it with the outputs.

        Raises:
            ValueError: A column does not exist or an option is invalid. The message lists the
                columns of the table.
            ImportStopped: The collector does not answer or refuses the import. Import the table
                again to complete it.
            OSError: A file cannot be read or written.
        """
        return table_import.import_table(self._recorder.in_force, table, model, options)

    def set_alias(
        self, model: str, alias: str, version: int | None = None, *, by: str = ""
    ) -> None:
        """Point an alias such as ``champion`` to a version of a model.

        Args:
            model: Name of the model.
            alias: Name of the alias. For the allowed names, see
                `otel_ml.targets.TargetModel.set_alias`.
            version: Version number, such as 3. Default: the newest version.
            by: Name of the author of the change. Default: the name of the API key.

        Raises:
            ValueError: An argument is invalid. The alias does not change.
            ReaderError: `version` is given, and the collector does not answer or has no such
                version.
        """
        self.model(check_text("model", model)).set_alias(alias, version, by=by)

    def target(
        self,
        name: str,
        *,
        model: str,
        prediction: str = "outputs",
        kind: "TargetKind" = "class",
        positive: str = "",
        probability: str = "",
        truth: str = "",
        k: int = 10,
    ) -> int:
        """Tell the collector which part of a model's output predicts which ground truth.

        This pair is called a prediction target. When ground truth arrives, the collector computes
        how good the predictions are, for example their accuracy. Read the results with
        `otel_ml.reader.Reader.target`. Saving an unchanged prediction target again does nothing.

        Args:
            name: Name of the prediction target. It is also the name of the ground truth, as passed
                to `Run.actual`, unless `truth` is given.
            model: Name of the model that makes the prediction.
            prediction: Where the prediction is in the run, such as ``outputs.label`` for the key
                ``label`` of the output.
            kind: Type of the prediction: ``class``, ``number``, or ``ranking`` (a list with the
                best items first).
            positive: For a class: the value that counts as positive.
            probability: For a class: where the run has the probability of `positive`, such as
                ``outputs.p``.
            truth: Name of the ground truth, if it differs from `name`.
            k: For a ranking: only the first `k` items are checked.

        Returns:
            Version number of the prediction target. Each save that changes it adds 1.

        Raises:
            ReaderError: The collector does not answer or rejects the target, or this client does
                not send to a collector.
            ValueError: An argument is invalid.
        """
        body = target_documents.write_target(
            model=model,
            prediction=prediction,
            kind=kind,
            positive=positive,
            probability=probability,
            truth=truth,
            k=k,
        )
        check_text("name", name)
        try:
            reader = stored_results.open_reader(self._recorder.in_force)
        except LookupError as error:
            message = "This client sends to no collector: expected an endpoint"
            raise reading.Unreachable(message) from error
        with reader:
            return int(reader.save_target(name, **body)["version"])

    @_show_options(EvaluateOptions, EVALUATED)
    def evaluate(
        self,
        function: Callable[..., Any],
        dataset: "Dataset | str | os.PathLike[str] | Sequence[Any]",
        judges: "Sequence[Judge | Callable[..., Any]]" = (),
        **options: "Unpack[EvaluateOptions]",
    ) -> "Result":
        """Run a function on a data set, score its outputs with judges and compare with a baseline.

        Each call is recorded as a run in a trace of its own, linked to the experiment. A call that
        raises or times out counts as an error, and as not passed. Ctrl-C stops the experiment and
        returns the results so far. No collector is needed.

        Args:
            function: The function to evaluate, sync or async. It receives an item's inputs as
                keyword arguments. If it has a single parameter, and no input has the name of that
                parameter, it receives all inputs as one value. A function decorated with `trace` or
                `assess` works too, but the judges of `assess` do not score these calls.
            dataset: A `Dataset`, a list of items, or the path of a ``.jsonl``, ``.csv`` or
                ``.parquet`` file.
            judges: `Judge` objects or plain functions, such as those in `otel_ml.judges.ready`. A
                rubric can use ``expected`` and ``item`` in addition to ``outputs`` and the inputs.
            options: Keyword options, see `otel_ml.experiments.options.EvaluateOptions`.

        Returns:
            Results per item, scores with confidence intervals, and the verdict against the
            baseline.

        Raises:
            ValueError: An argument is invalid. The message names it.
            OSError: A file cannot be read.
            RuntimeError: An event loop is running, which this call would block. Use `aevaluate`
                instead.
        """
        recorder = self._recorder.in_force
        return experiments.evaluate(recorder, function, dataset, judges, options)

    @_show_options(EvaluateOptions, EVALUATED)
    async def aevaluate(
        self,
        function: Callable[..., Any],
        dataset: "Dataset | str | os.PathLike[str] | Sequence[Any]",
        judges: "Sequence[Judge | Callable[..., Any]]" = (),
        **options: "Unpack[EvaluateOptions]",
    ) -> "Result":
        """Evaluate a function on a data set like `evaluate`, but from async code.

        It runs on the current event loop. Sync functions run in threads.

        Args:
            function: The function to evaluate, as in `evaluate`.
            dataset: The data set, as in `evaluate`.
            judges: The judges, as in `evaluate`.
            options: Keyword options, as in `evaluate`.

        Raises:
            ValueError: An argument is invalid. The message names it.
            OSError: A file cannot be read.
        """
        recorder = self._recorder.in_force
        return await experiments.aevaluate(recorder, function, dataset, judges, options)

    @_show_options(BackfillOptions, BACKFILLED)
    def judge(
        self,
        runs: "Iterable[StoredRun] | str",
        judge: "Judge | Callable[..., Any]",
        **options: "Unpack[BackfillOptions]",
    ) -> "Backfill":
        """Score stored runs with a judge, and compare the scores with another version of the judge.

        The judge runs in this process. Nothing is stored unless you pass ``write=True`` or call
        `Backfill.write`. Runs that this judge version has already scored are skipped. Runs without
        complete inputs and output are skipped too, and counted by reason. Ctrl-C stops and returns
        the results so far.

        Args:
            runs: Runs from `otel_ml.reader.Reader.runs`, or a filter such as ``model == "answer"
                and last("7d")``.
            judge: A `Judge` or a plain function. A rubric can use ``expected``: the expected value
                of an experiment's item, otherwise the ground truth of the run.
            options: Keyword options, see `otel_ml.experiments.options.BackfillOptions`.

        Returns:
            How often the two versions agree (share and Cohen's kappa), the pass rate of each, and
            the runs that pass with one version and fail with the other.

        Raises:
            ValueError: An argument is invalid. The message names it.
            ReaderError: This client does not send to a collector, or the collector does not answer.
        """
        recorder = self._recorder.in_force
        return backfill.judge_runs(recorder, runs, judge, options)

    @_show_options(ReplayOptions, REPLAYED)
    def replay(
        self,
        function: Callable[..., Any],
        runs: "str | Iterable[StoredRun]",
        judges: "Sequence[Judge | Callable[..., Any]]" = (),
        **options: "Unpack[ReplayOptions]",
    ) -> "Result":
        """Call a function again with recorded inputs, and compare with the recorded runs.

        Use it to see how changed code would have handled past inputs. The function is called, so
        its side effects happen again. The result is an experiment with one item per run. Its
        baseline is the recorded outputs, latency, cost, and scores by the same version of each
        judge. If a judge has not scored a recorded run yet, the judge scores the recorded output
        now, and the score is stored with the recorded run.

        Some runs cannot be replayed: runs that did not end, runs whose inputs are cut, hidden or
        deleted, and runs whose recorded inputs are too incomplete to rebuild the annotated types.
        `Result.left_out` counts them by reason.

        Args:
            function: The function to call, as in `evaluate`. Recorded inputs are converted to the
                annotated types, such as a date, a dataclass or a short array. Inputs without an
                annotation are passed as JSON values.
            runs: A filter such as ``model == "answer" and last("7d")``, or runs from
                `otel_ml.reader.Reader.runs`. A filter matches runs of experiments only if it
                mentions experiments.
            judges: The judges, as in `evaluate`. The expected value is the ground truth, if the run
                has one.
            options: Keyword options, see `otel_ml.experiments.options.ReplayOptions`.

        Returns:
            Results per run, scores with confidence intervals, and the verdict against the recorded
            runs.

        Raises:
            ValueError: An argument is invalid or no run can be replayed. The message gives the
                reason.
            ReaderError: The collector does not answer, or this client does not send to one.
            RuntimeError: An event loop is running, which this call would block.
        """
        return replaying.replay(self._recorder.in_force, function, runs, judges, options)

    def save(self, dataset: "Dataset", timeout_s: float = 60.0, *, reason: str = "") -> str:
        """Save a data set and wait until it is stored.

        Saving the same content again, from any process, does not create a new version. The returned
        tag is ``name:vN``, or ``name@digest`` if no collector answers with the version number.

        Args:
            dataset: The data set to save.
            timeout_s: Longest time to wait, in seconds.
            reason: Why you made this version. It is shown next to the version number. At most 1,000
                characters.

        Returns:
            The tag of the saved version.

        Raises:
            ValueError: `dataset` is not a `Dataset`, `timeout_s` is not a positive number, or
                `reason` is not a string of at most 1,000 characters.
        """
        if not issubclass(type(dataset), datasets.Dataset):
            raise invalid("dataset", dataset, "a Dataset")
        check_seconds("timeout_s", timeout_s)
        return datasets.save(self._recorder.in_force, dataset, timeout_s, reason)

    def data_metrics(
        self,
        frame: "Dataset | Any",
        *,
        label: str | None = None,
        sensitive: str | Sequence[str] = (),
        prediction: str | None = None,
        positive: object = None,
        reference: "Dataset | ModelProfile | Any" = None,
    ) -> dict[str, float]:
        """Compute the data metrics of a table, such as missing values, bias and drift.

        The metrics cover missing and duplicate values, class balance, bias, label leaks and drift.
        Inside a run, they are logged to that run with the source ``data``. For a `Dataset`, they
        are also logged to the data set's version, which is saved. Otherwise they are only returned.
        To log them to another run or to a model version, call `data_metrics` on that object. See
        docs/how-to/data-metrics.md for each metric.

        Args:
            frame: The table: a pandas, polars or pyarrow table, a structured NumPy array, a list of
                mappings, a `Dataset`, or runs from `Reader.runs`. The columns of a data set are its
                inputs and ``expected``. The columns of runs are their inputs, ``outputs`` or parts
                of it such as ``outputs.label``, and their ground truth by name.
            label: Column with the ground truth. Adds class balance, and how much each other column
                alone reveals about the label.
            sensitive: One or more columns whose groups should be treated equally. Groups with fewer
                than 30 rows are skipped.
            prediction: Column with the model's predictions. Bias is then computed for the
                predictions. If you also pass `label`, the groups are compared by true
                positive rate too.
            positive: The favourable value of the label or prediction. You can omit it for two
                obvious values, such as 0 and 1, or no and yes.
            reference: Table to compare with for drift, in any of the forms of `frame`, or a
                `ModelProfile`.

        Returns:
            The metrics by name.

        Raises:
            ValueError: An argument is invalid. The message names it.
        """
        is_dataset = issubclass(type(frame), datasets.Dataset)
        data_metrics = data_quality.measure_data(
            _as_table(frame),
            label=label,
            sensitive=sensitive,
            prediction=prediction,
            positive=positive,
            reference=_as_table(reference),
        )
        current_run().log_data_metrics(data_metrics)
        if is_dataset:
            datasets.send_data_metrics(self._recorder.in_force, frame, data_metrics)
        return data_metrics

    def profile(self, profile: "ModelProfile", action: str) -> str:
        """Check each run of a model against a profile, after the call has returned.

        A profile describes which values are normal for a model. Each checked value is added to the
        run as a tag. If a value is not normal, the run also gets a tag for the error. For example,
        the tag ``age-error`` with the value ``UpperBoundError`` means that ``age`` is too high. All
        these tags belong to one group, named after the profile: ``name@version``.

        Only recorded values are checked. Inputs and outputs that were hidden or cut are skipped,
        and so are outputs of failed calls.

        The profile is also sent to the collector. A profile with the same name and version is
        replaced.

        Args:
            profile: A profile on which you have called `build`. Changes that you make to it later
                are ignored.
            action: Name of the model whose runs are checked.

        Returns:
            The profile's ``name@version``.

        Raises:
            ValueError: An argument is invalid, the profile has not been built, or it is larger than
                1 MiB as JSON.
        """
        model = check_text("action", action)
        if not issubclass(type(profile), profiling.ModelProfile) or not profile.is_built():
            raise invalid("profile", profile, "a ModelProfile that was built")
        if self._profiles is None:
            self._profiles = profile_checker.ProfileChecker(self._recorder)
            self._recorder.watch = self._profiles
        self._profiles.add(model, profile)
        return profile.tag

    @_show_options(ModelOptions, RECORDED)
    def instrument(self, *libraries: str, **options: "Unpack[ModelOptions]") -> None:
        """Record the calls of other libraries, such as ``sklearn`` or ``openai``.

        For the model libraries ``sklearn``, ``xgboost``, ``lightgbm``, ``catboost``, ``keras``,
        ``onnxruntime``, ``torch``, ``transformers`` and ``sentence_transformers``, each prediction
        and each ``fit`` becomes a run. You need no decorator. Predictions that such a call makes
        internally are not recorded. For a list of the methods, see docs/how-to/scikit-learn.md.

        All other libraries need an OpenTelemetry instrumentation package. If several packages
        instrument the library, the alphabetically first one is used.

        Instrumenting a library twice does nothing. `uninstrument` and `close` stop the recording.

        Args:
            libraries: Names of libraries, such as ``sklearn`` or ``openai``, or of instrumentation
                packages, such as ``opentelemetry-instrumentation-genai-openai``.
            options: Keyword options for model libraries, see
                `otel_ml.libraries.options.ModelOptions`.

        Raises:
            ValueError: An option is invalid, or a library cannot be instrumented: it is not
                installed, or no installed package supports its version. The libraries before it in
                the arguments stay instrumented.
        """
        if options:
            check_model_options(options)
        for library in libraries:
            check_text("libraries", library)
        for library in libraries:
            if library in self._instrumented:
                continue
            if library in library_table.LIBRARIES:
                recorder = self._recorder
                made = model_libraries.instrument_models(library, recorder, options)
            elif options:
                raise ValueError(
                    f"Invalid library {show(library)} with {', '.join(options)}: expected one of "
                    f"{', '.join(library_table.LIBRARIES)}"
                )
            else:
                made = instrumentations.instrument(library, self.tracer_provider)
            self._instrumented[library] = made

    def uninstrument(self, *libraries: str) -> None:
        """Stop recording the calls of libraries, and restore their original methods.

        Libraries that this client does not record are ignored.

        Args:
            libraries: Names as passed to `instrument`. Default: all libraries that this client
                records.
        """
        for library in libraries or tuple(self._instrumented):
            made = self._instrumented.pop(check_text("libraries", library), None)
            with quiet("instrumentations"):
                if made is not None:
                    made.uninstrument()

    @property
    def tracer_provider(self) -> trace_api.TracerProvider:
        """A tracer provider to pass to other instrumentations. Their spans are sent like your runs.

        For example, ``SomeInstrumentor().instrument(tracer_provider=client.tracer_provider)``.
        Secrets in the spans are hidden as set by `redact` and `redact_keys`. If the client sends
        its runs through your own tracer provider, this may be your provider, which does not hide
        secrets.

        These spans are queued in memory, even if the client has a `spool` (a queue on disk). They
        are lost if the process is killed before they are sent.
        """
        return self._recorder.tracer_provider

    def disabled(self) -> AbstractContextManager[None]:
        """Return a context manager that stops recording in the current task or thread.

        Calls that start inside the block are not recorded.
        """
        return self._recorder.disabled()

    def current_run(self) -> Run:
        """Return the innermost open run of the current task or thread.

        It does the same as `otel_ml.current_run`.
        """
        return current_run()

    def flush(self, timeout_s: float = 30.0) -> "Delivery":
        """Wait for pending judges, and deliver all queued spans.

        `flush` returns early if nothing was delivered for 5 s. If the collector asked for a pause
        (``Retry-After``), `flush` waits for up to 30 s instead, and logs that it is waiting.

        Args:
            timeout_s: Longest time to wait, in seconds. 0 is allowed.

        Returns:
            How many spans were delivered, are pending or were lost since the last flush, and why.
            It is truthy if everything was delivered.

        Raises:
            ValueError: `timeout_s` is not a number of seconds.
        """
        return self._recorder.flush(check_seconds("timeout_s", timeout_s, may_be_zero=True))

    def stats(self) -> Stats:
        """Return the client's counters and configuration, and the SDK's own cost per call."""
        return self._recorder.stats()

    def close(self) -> None:
        """Deliver all queued spans and stop the client. This happens automatically at exit."""
        self.uninstrument()
        self._recorder.close()

    def __getstate__(self) -> dict[str, Any]:
        judges = {tag: judge for tag, judge in self._judges.items() if pickling.can_pickle(judge)}
        return {"recorder": self._recorder, "judges": judges}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._recorder = state["recorder"]
        self.project = self._recorder.project
        self._judges = state["judges"]
        self._instrumented = {}
        self._profiles = None

    @property
    def _card(self) -> Card:
        page = page_address(self._recorder.page, self.project)
        return Card("Client", self.project, page=page)

    def _judge(self, judge: Any) -> "Judge":
        if not issubclass(type(judge), str):
            _check_judge("judges", judge, "a Judge, or a tag that add_judge returned")
            self.add_judge(judge)
            added: Judge = judge
            return added
        known = self._judges.get(str(judge))
        if known is None:
            names = [each.name for each in self._judges.values()]
            near = find_similar(str(judge), [*names, *self._judges])
            hint = f"; did you mean {near}?" if near else ""
            raise ValueError(
                f"Unknown judge {show(judge)}: expected a tag that add_judge returned{hint}"
            )
        return known

    def _decorator(self, options: Options, judging: Judging) -> Callable[..., Any]:
        def record(function: Callable[..., Any]) -> Callable[..., Any]:
            judging.check_function(function)
            return wrap(TracedFunction(self._recorder, function, options, judging))

        return lambda target: decorate(target, record)


def _as_table(given: Any) -> Any:
    """Return the rows of a data set, or any other value unchanged."""
    return given.to_rows() if issubclass(type(given), datasets.Dataset) else given


def _check_judge(argument: str, judge: object, expected: str) -> None:
    if not issubclass(type(judge), judging.Judge):
        raise invalid(argument, judge, expected)


def _check_destination(
    exporter: object, tracer_provider: object, join: object, spool: object
) -> str | None:
    """Check the arguments that choose a destination, and return the spool directory or None."""
    if not (exporter is None or hasattr(type(exporter), "export")):
        raise invalid("exporter", exporter, "a span exporter of OpenTelemetry, or None")
    if not (tracer_provider is None or hasattr(type(tracer_provider), "get_tracer")):
        raise invalid("tracer_provider", tracer_provider, "a provider of OpenTelemetry, or None")
    if not (join is False or (type(join) is str and join == "auto")):
        raise invalid("join", join, "'auto' or False")
    if spool is None:
        return None
    if exporter is not None:
        raise ValueError(
            "Invalid spool: expected no exporter, because a spool always sends OTLP over HTTP"
        )
    if not issubclass(type(spool), str | os.PathLike):
        raise invalid("spool", spool, "the path of a directory, or None")
    return check_text("spool", os.fspath(spool), 4_096)  # type: ignore[call-overload]  # just checked
