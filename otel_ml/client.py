"""The client: a project, a destination, the decorators and runs that go there."""

import inspect
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

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
    invalid,
    show,
)
from otel_ml.calls import decorate, wrap
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
from otel_ml.notebook import Card, HasCard, page_address
from otel_ml.outlet import Join, Route
from otel_ml.process import deliver_at_sigterm
from otel_ml.recorder import Recorder, Stats
from otel_ml.redaction import SECRET_KEYS, Redact, Redaction
from otel_ml.runs import OpenedRun, Run, current_run, open_run
from otel_ml.tags import Tags

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from typing_extensions import Unpack

    from otel_ml import data_quality, instrumentations, targets
    from otel_ml.experiments import backfill, stored_results
    from otel_ml.experiments import dataset as datasets
    from otel_ml.experiments import experiment as experiments
    from otel_ml.experiments import replay as replaying
    from otel_ml.experiments.backfill import Backfill
    from otel_ml.experiments.dataset import Dataset
    from otel_ml.experiments.result import Result
    from otel_ml.export.delivery import Delivery
    from otel_ml.judges import judge as judging
    from otel_ml.judges.judge import Judge
    from otel_ml.profiles import profile as profiling
    from otel_ml.profiles import watch as profile_watch
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
    replaying = late("experiments.replay")
    stored_results = late("experiments.stored_results")
    reading = late("reader.errors")
    target_documents = late("reader.targets")
    instrumentations = late("instrumentations")
    profile_watch = late("profiles.watch")
    profiling = late("profiles.profile")
    judging = late("judges.judge")
    targets = late("targets")

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_logger = logging.getLogger(__name__)


def _show_options(options: type, defaults: Mapping[str, Any]) -> Callable[[F], F]:
    """Name each option in a method's signature, for `help` and notebooks."""

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
    """Records model calls of a project.

    Making a client opens no connection and starts no thread; that happens at the first call.

    Args:
        project: Where the runs gather; ``OTEL_ML_PROJECT`` or ``default`` when not given.
        api_key: Sent as a bearer token; ``OTEL_ML_API_KEY`` when not given. A collector on
            loopback needs none.
        endpoint: Base address of the collector. When not given: ``OTEL_ML_ENDPOINT``, then the
            standard ``OTEL_EXPORTER_OTLP_*`` variables, then ``http://localhost:4318``.
        exporter: Any OpenTelemetry span exporter, instead of that for `endpoint`.
        tracer_provider: The provider to make spans with, instead of choosing one.
        join: ``"auto"`` makes spans with a global provider that is exactly the SDK's, so that
            they sit in a trace with the service's own; False never does.
        spool: A directory of this service: each call is written there before it returns and
            removed when it is delivered, so that neither ``kill -9`` nor hours without a
            collector lose it. A directory is for a single destination.
        flush_on_sigterm: Deliver the queue when the process is ended by SIGTERM, for
            at most 2 s. Only where nobody else handles the signal, and from the main thread.
            Children of `multiprocessing` do so unasked.
        redact: Called with every text that would leave the process, each string within inputs
            and outputs and each key included; returns what is sent in its place.
        redact_keys: The values of keys with any of these words are hidden; no words hide none.

    Raises:
        ValueError: An argument is of a wrong type, the project's name is longer than 128
            characters, holds control characters or is ``.`` or ``..``, or there is both an
            exporter and a spool.
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
        self._profiles: profile_watch.ProfileWatch | None = None
        self._recorder = Recorder(route, Redaction(redact, redact_keys))
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

        Args:
            function: The function, when used as a bare decorator. Sync, async or generator.
            options: By name, see `otel_ml.functions.Options`.

        Returns:
            The function, which returns or raises exactly as before.

        Raises:
            ValueError: An argument is none of what it takes; the message says which.
            TypeError: The function is a class, or cannot be called.
        """
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
        """Record every call of a function as a run and let judges score it.

        Judges run on threads of their own after the call has returned.

        Args:
            judges: Judges, or tags that `add_judge` returned.
            inline: Judge before the call returns: a sync function on its own thread, an async
                function without blocking its loop.
            sample: The share of recorded runs that is judged, chosen by their span ids.
            options: By name, as in `trace`.

        Raises:
            ValueError: A judge is invalid, a tag belongs to no judge of this client, two judges
                have the same name, the sample is no number from 0 to 1, or as in `trace`.
        """
        judges_ = tuple(dict.fromkeys(self._judge(judge) for judge in judges))
        return self._decorator(options, Judging(judges_, inline, sample))

    def add_judge(self, judge: "Judge") -> str:
        """Make a judge known to this client.

        Returns:
            Its tag, ``name@version``, for `assess`. The small number, such as ``v1``, is given
            by the store, so no server is asked here.

        Raises:
            ValueError: It is no judge.
        """
        _check_judge("judge", judge, "a Judge")
        self._judges[judge.tag] = judge
        return judge.tag

    def run(
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
    ) -> OpenedRun:
        """Open a run without a function.

        It ends with its ``with`` block, by its `end`, when nobody holds it any more, or with the
        process, whichever comes first.

        Args:
            name: The model's name.
            kind: As in `trace`; by default ``chain`` of a run with a session, else ``training``.
            inputs: Its input, such as a question; `Run.set_input` sets it later.
            params: Hyper-parameters of the run.
            tags: Set on the run.
            session: The conversation that it belongs to.
            user: Whom it serves.
            trace_key: Your own id of the trace; runs of several processes may share it. Of it,
                the session and the user anything but a text counts by its text.

        Raises:
            ValueError: Name, kind, params or tags are invalid; the message names the argument
                .
        """
        model = check_text("name", name)
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
        return open_run(self._recorder, model, kind, given, [tags], inputs=inputs)

    def about(
        self,
        *,
        run_id: str | None = None,
        trace_key: str | None = None,
        tag: tuple[str, object] | None = None,
    ) -> "Elsewhere":
        """Name runs that are elsewhere, to add tags, text, metrics or feedback to them.

        They may be over, in another process, or yet to come.

        Args:
            run_id: The `Run.id` of a run.
            trace_key: The key of a trace, as `run` takes it.
            tag: Name and value of a tag.

        Raises:
            ValueError: None or several of them are given, the run id is invalid, or the tag no
                pair.
        """
        return targets.about(self._recorder.in_force, run_id, trace_key, tag)

    def model(
        self,
        name: str,
        params: Mapping[str, object] | None = None,
        artifact: "Weights | None" = None,
    ) -> "TargetModel":
        """Name a model, or a version of a model that is no function, to log to it and read it back.

        The version is computed here, from `params` and the content of `artifact`: the same in
        every process, and another as soon as either changes. With neither, the model itself
        is named, by whomever it was recorded: it is read back, and what is logged continues its
        newest version, see `otel_ml.targets.TargetModel.version`.

        Args:
            name: The model's name.
            params: What it was made with.
            artifact: Its file, its directory, or its bytes, which are read and not sent.

        Raises:
            ValueError: The name is empty or longer than 1,024 characters, the params are no
                mapping, or the artifact cannot be read.
        """
        return targets.name_model(self._recorder.in_force, name, params, artifact)

    def set_alias(
        self, model: str, alias: str, version: int | None = None, *, by: str = ""
    ) -> None:
        """Move a name such as ``champion`` to a version of a model.

        Args:
            model: The model.
            alias: The name, see `otel_ml.targets.TargetModel.set_alias`.
            version: The small number; by default the newest version.
            by: Who moves it; by default the name of the key.

        Raises:
            ValueError: An argument is invalid; nothing moves.
            ReaderError: A number is given, and the collector does not answer or has no such
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
        """Say which part of a model's output foretells which truth, once in the life of a model.

        Then the quality of its predictions is counted as truths come, see
        `otel_ml.reader.Reader.target`. Saved again as it is it stays the same.

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
            The version of the target, which counts the saves of its name.

        Raises:
            ReaderError: The collector does not answer, or refuses the target, or this client sends
                to none.
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
        """Run a function over a data set, let judges score its outputs, and compare.

        Each call is a run of its own, in a trace of its own, linked to the run of the experiment.
        A call that raises or takes too long is an error, and has not passed. An interruption
        (Ctrl-C) ends it with what is done. It works without a collector, too.

        Args:
            function: It gets an item's inputs by name; a function with a single parameter that is
                none of these names gets the whole inputs. Sync or async; when it is decorated by
                `trace` or `assess` its runs are the same, but its own judges are not asked.
            dataset: A data set, the path of a ``.jsonl``, ``.csv`` or ``.parquet`` file, or a list
                of items.
            judges: Judges, or plain functions, such as those of `otel_ml.judges.ready`. A rubric
                may name ``expected`` and ``item`` beside ``outputs`` and the inputs.
            options: By name, see `otel_ml.experiments.options.EvaluateOptions`.

        Returns:
            Rows, scores with intervals, and the verdict against the baseline.

        Raises:
            ValueError: An argument is invalid; the message names it.
            OSError: A file cannot be read.
            RuntimeError: A loop is running, which it would block: `aevaluate` is for that.
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
        """Evaluate as `evaluate` does, on the running loop; sync functions run on threads.

        Args:
            function: As in `evaluate`.
            dataset: As in `evaluate`.
            judges: As in `evaluate`.
            options: As in `evaluate`.

        Raises:
            ValueError: As in `evaluate`.
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
        """Ask a judge about stored runs, and compare with the scores of another version of it.

        The judge's code runs here. Nothing is stored before `Backfill.write`, or with `write`;
        runs that this version has scored are not judged again. Runs without whole inputs and
        output are left out and counted by reason. An interruption (Ctrl-C) ends it with what is
        done.

        Args:
            runs: What `otel_ml.reader.Reader.runs` lists, or a filter such as
                ``model == "answer" and last("7d")``.
            judge: A judge, or a plain function. A rubric may name ``expected``: the expected value
                of an item of an experiment, else the truth that came.
            options: By name, see `otel_ml.experiments.options.BackfillOptions`.

        Returns:
            Agreement, kappa, pass rates with their difference, and the runs that turn round.

        Raises:
            ValueError: An argument is invalid; the message names it.
            ReaderError: There is no collector that could be asked, or it has no answer.
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
        """Run recorded inputs on a function as it is now, and compare with the recorded runs.

        The function is called for real. It is an experiment like any other, on a data set that is
        made of the runs; the baseline is their recorded outputs, latency, cost and scores by the
        same version of each judge. A judge that has not judged a recorded run is asked about its
        output, and its score is stored with that run.

        Runs are left out, and counted by reason in `Result.left_out`, where they did not end, where
        their inputs are cut, hidden or deleted, or where too little was kept to give an input the
        type that the function's annotation asks for.

        Args:
            function: As in `evaluate`. An input has the type of its annotation: a date, a
                dataclass, a short array; without an annotation it is JSON.
            runs: A filter such as ``model == "answer" and last("7d")``, or runs as
                `otel_ml.reader.Reader.runs` lists them. Runs of experiments are among them only
                where the filter speaks of these.
            judges: As in `evaluate`. What is expected is the truth that came, where it did.
            options: By name, see `otel_ml.experiments.options.ReplayOptions`.

        Returns:
            Rows, scores with intervals, and the verdict against the recorded runs.

        Raises:
            ValueError: An argument is invalid, or no run can be replayed; the message names the
                reason .
            ReaderError: The collector has no answer, or this client sends to none.
            RuntimeError: A loop is running, which it would block.
        """
        return replaying.replay(self._recorder.in_force, function, runs, judges, options)

    def save(self, dataset: "Dataset", timeout_s: float = 60.0, *, reason: str = "") -> str:
        """Send the items of a data set and its version, and wait until they are delivered.

        The same content is the same version, however often it is saved and by whom. The answer is
        what it is called: ``name:vN``, or ``name@digest`` where there is no collector that knows
        the number.

        Args:
            dataset: The data set.
            timeout_s: How long to wait at most.
            reason: Why this version is made, up to 1,000 characters: it stands beside its number.

        Raises:
            ValueError: It is no data set, the time no number of seconds, or the reason no such
                text.
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
        """Compute the data metrics of a table: missing, doubled, unfair and leaking values.

        Within a run they are logged to it, with the source ``data``; those of a data set to its
        version, which is saved. To another run, or to a version of a model, they are logged by the
        method of the same name of `otel_ml.Run` and of what `model` returns. Elsewhere they are
        only returned. Names and meanings: docs/how-to/data-metrics.md.

        Args:
            frame: A table of pandas, polars or pyarrow, a structured array of numpy, a list of
                mappings, a data set, whose columns are its inputs and ``expected``, or stored runs
                as `Reader.runs` lists them: their inputs by name, ``outputs`` or its parts such as
                ``outputs.label``, and the truths by name.
            label: The column that holds what is right: its balance, and which other column gives
                it away alone.
            sensitive: A column, or several, whose groups are to be treated alike. Groups of fewer
                than 30 rows are not judged.
            prediction: The column that holds what a model said: bias is that of the prediction,
                and with a label those are compared, too, who deserved it.
            positive: The value of the label or prediction that is wished for. Needed unless there
                are but two, such as 0 and 1, or no and yes.
            reference: What its columns are held against, of the same makes, or a profile.

        Returns:
            The numbers by their names.

        Raises:
            ValueError: An argument is none of what it takes; the message says which.
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
        """Validate each run of a model by a profile, after its call has returned.

        What is wrong with a run becomes a tag of it, such as ``age-error`` with the value
        ``UpperBoundError``, of the group ``name@version``; so does what an extractor computed. The
        profile sees what was recorded of a run, as JSON: inputs or outputs that were hidden, cut
        or left out are not looked at, nor is the output of a call that failed. The profile itself
        is sent, as a version that is known by its content. Given again under the same name and
        version it takes the place of the one before.

        Args:
            profile: The profile, built; a later `ModelProfile.build` changes nothing here.
            action: The name of the model.

        Returns:
            Its ``name@version``.

        Raises:
            ValueError: An argument is none of what it takes, or the profile is not built, or its
                document is longer than a megabyte.
        """
        model = check_text("action", action)
        if not issubclass(type(profile), profiling.ModelProfile) or not profile.is_built():
            raise invalid("profile", profile, "a ModelProfile that was built")
        if self._profiles is None:
            self._profiles = profile_watch.ProfileWatch(self._recorder)
            self._recorder.watch = self._profiles
        self._profiles.add(model, profile)
        return profile.tag

    def instrument(self, *libraries: str) -> None:
        """Record calls of other libraries, such as ``openai``, by their instrumentations.

        It takes the OpenTelemetry instrumentation that is installed for a library and hands it
        `tracer_provider`. Where several are, the first by the name of their packages is taken.
        A second call does nothing; `close` undoes it.

        Args:
            libraries: Names such as ``openai``, ``anthropic`` or ``langchain``, or that of a
                package that instruments it: ``opentelemetry-instrumentation-openai-v2``.

        Raises:
            ValueError: Nothing that is installed instruments the library, or not its version;
                libraries named before it are instrumented.
        """
        for library in libraries:
            if check_text("libraries", library) not in self._instrumented:
                made = instrumentations.instrument(library, self.tracer_provider)
                self._instrumented[library] = made

    @property
    def tracer_provider(self) -> trace_api.TracerProvider:
        """The provider to give to other instrumentations: their spans go where the runs go.

        It belongs to the client, is no global one, and hides secrets by `redact` and `redact_keys`.
        A client that joined a provider of the service's, and names no endpoint, gives that
        provider. With a `spool` its spans wait in memory. Reading it chooses the client's
        destination.
        """
        return self._recorder.tracer_provider

    def disabled(self) -> AbstractContextManager[None]:
        """Record no call that begins within a ``with`` block of this, in this task or thread."""
        return self._recorder.disabled()

    def current_run(self) -> Run:
        """Return the innermost run of the calling task or thread, see `otel_ml.current_run`."""
        return current_run()

    def flush(self, timeout_s: float = 30.0) -> "Delivery":
        """Wait for judges and deliver the queue.

        Returns early when nothing got through for 5 s.

        Returns:
            The numbers delivered, pending and lost since the last flush, with the reasons. It is
            true when all was delivered.

        Raises:
            ValueError: The time is no number of seconds.
        """
        return self._recorder.flush(check_seconds("timeout_s", timeout_s, may_be_zero=True))

    def stats(self) -> Stats:
        """Return counters, configuration, and the SDK's own cost per call."""
        return self._recorder.stats()

    def close(self) -> None:
        """Deliver the queue and stop. Runs at exit by itself."""
        while self._instrumented:
            _, made = self._instrumented.popitem()
            with quiet("instrumentations"):
                if made is not None:
                    made.uninstrument()
        self._recorder.close()

    @property
    def _card(self) -> Card:
        page = page_address(self._recorder.page, self.project)
        return Card("Client", self.project, page=page)

    def _judge(self, judge: Any) -> "Judge":
        if not issubclass(type(judge), str):
            _check_judge("judges", judge, "each a Judge, or a tag that add_judge returned")
            self.add_judge(judge)
            added: Judge = judge
            return added
        known = self._judges.get(str(judge))
        if known is None:
            raise ValueError(f"Unknown judge {show(judge)}: expected a tag that add_judge returned")
        return known

    def _decorator(self, options: Options, judging: Judging) -> Callable[..., Any]:
        check_options(options)

        def record(function: Callable[..., Any]) -> Callable[..., Any]:
            return wrap(TracedFunction(self._recorder, function, options, judging), function)

        return lambda target: decorate(target, record)


def _as_table(given: Any) -> Any:
    """Return a data set as its rows, anything else as it is."""
    return given.to_rows() if issubclass(type(given), datasets.Dataset) else given


def _check_judge(argument: str, judge: object, expected: str) -> None:
    if not issubclass(type(judge), judging.Judge):
        raise invalid(argument, judge, expected)


def _check_destination(
    exporter: object, tracer_provider: object, join: object, spool: object
) -> str | None:
    """Check where spans are to go; returns the spool's directory."""
    if not (exporter is None or hasattr(type(exporter), "export")):
        raise invalid("exporter", exporter, "a span exporter of OpenTelemetry, or None")
    if not (tracer_provider is None or hasattr(type(tracer_provider), "get_tracer")):
        raise invalid("tracer_provider", tracer_provider, "a provider of OpenTelemetry, or None")
    if not (join is False or (type(join) is str and join == "auto")):
        raise invalid("join", join, "'auto' or False")
    if spool is None:
        return None
    if exporter is not None:
        raise ValueError("Invalid spool: expected no exporter beside it, the spool sends OTLP")
    if not issubclass(type(spool), str | os.PathLike):
        raise invalid("spool", spool, "the path of a directory, or None")
    return check_text("spool", os.fspath(spool), 4_096)  # type: ignore[call-overload]  # just checked
