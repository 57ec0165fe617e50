"""Judges: what this topic adds to the application."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from otel_ml_collector.background import BackgroundJob
from otel_ml_collector.judges import routes, rubric_pages, rubric_routes, worker_routes
from otel_ml_collector.judges.filed import FiledJudges
from otel_ml_collector.judges.job import JudgeJobOptions, JudgeModels, RubricJudgeJob
from otel_ml_collector.judges.judge_store import LocalJudgeStore
from otel_ml_collector.judges.rubric_judge import FileRubricJudge
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.receive.pipeline import Intake
from otel_ml_collector.services import Services, Topic
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.documents import Documents
from otel_ml_collector.store.reader import Reader


@dataclass(frozen=True, slots=True)
class JudgeParts:
    """The parts of a collector that run rubric judges.

    Attributes:
        store: Reads the runs to judge, and stores scores.
        job: Asks the models.
        filed: Stores the judges of the settings file.
    """

    store: LocalJudgeStore
    job: RubricJudgeJob
    filed: FiledJudges

    @classmethod
    def open(
        cls,
        settings: Settings,
        reader: Reader,
        connections: Connections,
        *,
        pipeline: Intake,
        prices: Prices,
        file_judges: Sequence[FileRubricJudge],
    ) -> "JudgeParts":
        """Make the parts. Nothing runs until their background jobs do."""
        documents = Documents(connections)
        store = LocalJudgeStore(
            reader,
            documents,
            pipeline.store_own,
            settings.judge_redact,
            settings.judges.quiet_s,
            settings.judges.session_quiet_s,
        )
        job = RubricJudgeJob(
            store,
            JudgeModels(settings.judge_connections, settings.judge_redact, prices),
            options=_choose_options(settings),
            is_busy=lambda: pipeline.pressure.was_high,
        )
        filed = FiledJudges(reader, documents, file_judges, is_owner=settings.judges.run)
        return cls(store, job, filed)

    def list_jobs(self) -> list[BackgroundJob]:
        """List the background jobs, which run one after the other."""
        return [*self.filed.list_jobs(), *self.job.list_jobs()]


def _choose_options(settings: Settings) -> JudgeJobOptions:
    """Choose how rubric judges run, and the name of this collector in their leases."""
    judges = settings.judges
    options = JudgeJobOptions(is_on=judges.run, threads=judges.threads)
    # An embedded store has only one collector. With a fixed name, it takes over the leases of an
    # earlier process that has ended.
    holder = "embedded" if settings.data_dir else settings.collector_name
    return replace(options, holder=holder) if holder else options


def _make_services(services: Services) -> Iterable[object]:
    parts = services.find(JudgeParts)
    return parts.store, parts.job


topic = Topic(
    api=[rubric_routes.api, worker_routes.api, routes.api],
    pages=[rubric_pages.pages, routes.pages],
    make_services=_make_services,
)
