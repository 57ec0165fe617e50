"""Saves judges from the configuration file in the store, for pages and the background job."""

import time
from collections.abc import Callable, Sequence

from otel_ml_collector.access import SETTINGS_FILE, acting_as
from otel_ml_collector.background import BackgroundJob
from otel_ml_collector.judge_budget import RUBRIC_JUDGE
from otel_ml_collector.judges.job import RUN_EVERY_S
from otel_ml_collector.judges.rubric_judge import FileRubricJudge, write_rubric_body
from otel_ml_collector.store.documents import Documents, list_all_documents
from otel_ml_collector.store.reader import Reader


class FiledJudges:
    """Saves the judges of the configuration file in the store, once after the start.

    Stored judges that are no longer in the file are deleted.

    Args:
        reader: Reads the store.
        documents: Saves judges.
        judges: The judges of the file.
        is_owner: Whether this collector runs judges. If it does not, and its file contains no
            judges, nothing is saved or deleted, because the stored judges come from the files of
            other collectors.
        clock: Returns the time in nanoseconds since the epoch.
    """

    def __init__(
        self,
        reader: Reader,
        documents: Documents,
        judges: Sequence[FileRubricJudge],
        *,
        is_owner: bool,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._reader = reader
        self._documents = documents
        self._judges = judges
        self._clock = clock
        self._is_due = is_owner or bool(judges)

    def has_work(self) -> bool:
        """Return whether they are still to be saved."""
        return self._is_due

    @acting_as(SETTINGS_FILE)
    def list_jobs(self) -> Sequence[BackgroundJob]:
        """List the job that saves these judges. It runs before rubric judges do."""
        return [
            BackgroundJob(
                self.save,
                RUN_EVERY_S,
                "The judges of the configuration file could not be saved",
                has_work=self.has_work,
            )
        ]

    def save(self) -> None:
        """Save the judges of the file, and delete those that it no longer has.

        Raises:
            Unavailable: The store has trouble.
        """
        wanted = {(judge.project, judge.name): judge for judge in self._judges}
        stored = list_all_documents(self._reader, RUBRIC_JUDGE)
        before = {(project, document.name): document for project, document in stored}
        for (project, name), document in before.items():
            if (project, name) not in wanted and document.body.get("origin") == "file":
                self._documents.delete(self._reader, project, RUBRIC_JUDGE, name)
        for (project, name), judge in wanted.items():
            known = before.get((project, name))
            body = write_rubric_body(judge, known, self._clock(), "file")
            if known is None or known.body != body:
                self._documents.save(self._reader, project, RUBRIC_JUDGE, name, body)
        self._is_due = False
