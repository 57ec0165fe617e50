"""Validates the runs of a model against its profile, on a thread of its own.

The thread starts after a call has returned. It reads what was recorded of the run, as JSON. So it
keeps none of your objects alive, and does not see parts that are hidden or not recorded.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.capture.values import clean
from otel_ml.errors import quiet, warn_once
from otel_ml.process import renew_each_in_child
from otel_ml.profiles.components import ERROR_SUFFIX
from otel_ml.profiles.profile import DOCUMENT, DOCUMENT_BYTES, ModelProfile
from otel_ml.recorder import Recorder
from otel_ml.targets import about
from otel_ml.wire import encode_payloads
from otel_ml.worker import Worker

QUEUED: Final = 10_000


class ProfileChecker:
    """Checks finished runs against the profile of their model, and stores the results as tags.

    A profile describes which values are normal. The checks run in the background, so they do not
    slow down calls. At most 10,000 runs wait in the queue.

    Args:
        recorder: Sends the tags to the collector.

    Attributes:
        lost: Number of runs that were not checked because the queue was full.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._watched: dict[str, list[_Watched]] = {}
        self.lost = 0
        self._worker = Worker("otel-ml-profiles", self._work)
        self.renew()
        _WATCHES.add(self)

    def renew(self) -> None:
        """Start with an empty queue. Called at creation, and in a forked child process."""
        self._waiting: deque[_SeenRun | threading.Event] = deque()

    def add(self, model: str, profile: ModelProfile) -> None:
        """Check all further runs of a model against a profile.

        The profile is also sent to the collector. Later changes to the profile object have no
        effect.

        Args:
            model: Name of the model.
            profile: A profile on which `build` was called. It replaces one with the same name and
                version.

        Raises:
            ValueError: The profile is larger than 1 MiB as JSON.
        """
        watched = _Watched.of(profile)
        others = [
            known for known in self._watched.get(model, ()) if known.profile.tag != profile.tag
        ]
        self._watched[model] = [*others, watched]
        self._send(watched)

    # Called on the caller's thread.

    def see(self, model: object, run_id: str, facts: Mapping[str, Any]) -> None:
        """Queue a finished run for validation and return immediately.

        Does nothing if the model has no profile.
        """
        if model not in self._watched:
            return
        if len(self._waiting) >= QUEUED:
            self.lost += 1
            warn_once("Profile queue is full (%s runs): further runs are skipped", f"{QUEUED:,}")
            return
        items = [facts.get(name) for name in _FACTS]
        self._put(_SeenRun(str(model), run_id, dict(zip(_FACTS, items, strict=True))))

    def drain(self, timeout_s: float) -> int:
        """Wait until the queued runs are validated. Return how many were not validated in time."""
        if not self._waiting:
            return 0
        done = threading.Event()
        self._put(done)
        return 0 if done.wait(max(timeout_s, 0.0)) else len(self._waiting)

    def close(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` seconds for the queued runs, then stop."""
        self.drain(timeout_s)
        self._worker.close(timeout_s)

    def _put(self, job: "_SeenRun | threading.Event") -> None:
        self._waiting.append(job)
        if self._worker.is_asleep:
            self._worker.wake()

    # Called on its own thread.

    def _work(self) -> None:
        while not self._worker.is_stopping:
            while self._waiting:
                job = self._waiting[0]
                if isinstance(job, threading.Event):
                    job.set()
                else:
                    with quiet("profile"):
                        self._validate(job)
                self._waiting.popleft()
            self._worker.rest(lambda: self._waiting)

    def _validate(self, run: "_SeenRun") -> None:
        parts = parts_of_facts(run.facts)
        for watched in self._watched[run.model]:
            self._send(watched)
            # The run already contains values read by path, but not values of an extractor.
            tags = [
                tag
                for tag in watched.profile.validate(parts)
                if tag.name.endswith(ERROR_SUFFIX) or tag.name in watched.computed
            ]
            if tags:
                about(self._recorder, run.run_id).tag(tags)

    @quiet("profile")
    def _send(self, watched: "_Watched") -> None:
        """Send the profile as a version, unless that was done recently."""
        key = (DOCUMENT, watched.profile.name, watched.digest)
        if (
            self._recorder.active() is None
            or self._recorder.check_due(key, time.time_ns()) is not None
        ):
            return
        facts = {
            names.TARGET_MODEL: clean(watched.profile.name),
            names.TARGET_VERSION: watched.digest,
            names.TARGET_KIND: DOCUMENT,
            names.MODEL_DEFINITION: watched.document,
        }
        self._recorder.send_record("update", None, facts)


@dataclass(frozen=True, slots=True)
class _SeenRun:
    model: str
    run_id: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Watched:
    """A copy of a profile at the time it was added, with its document.

    Attributes:
        computed: Names of the components whose values come from an extractor.
    """

    profile: ModelProfile
    digest: str
    document: str
    computed: frozenset[str]

    @classmethod
    def of(cls, profile: ModelProfile) -> "_Watched":
        form = profile.to_dict()
        document = orjson.dumps(form, option=orjson.OPT_SORT_KEYS).decode()
        if len(document) > DOCUMENT_BYTES:
            raise ValueError(
                f"Invalid profile of {len(document):,} bytes: expected at most {DOCUMENT_BYTES:,}"
            )
        extractors = {
            component.name: component.extractor
            for component in profile.components.values()
            if component.extractor is not None
        }
        copied = ModelProfile.from_dict(form, extractors)
        return cls(copied, copied.digest, document, frozenset(extractors))


_FACTS: Final = (names.INPUTS, names.OUTPUTS, names.CAPTURE, names.OUTCOME)


def parts_of_facts(facts: Mapping[str, Any]) -> dict[str, object]:
    """Return the inputs and output of a run, as far as they were recorded completely.

    A failed run has no output.
    """
    facts = encode_payloads(facts, previews=False)
    notes = facts.get(names.CAPTURE)
    capture = orjson.loads(notes) if isinstance(notes, str) else {}
    parts: dict[str, object] = {}
    for part, name in (("inputs", names.INPUTS), ("outputs", names.OUTPUTS)):
        text = facts.get(name)
        is_there = part == "inputs" or facts.get(names.OUTCOME) == "ok"
        if isinstance(text, str) and part not in capture and is_there:
            parts[part] = orjson.loads(text)
    return parts


_WATCHES: Final = renew_each_in_child(ProfileChecker.renew)
