"""Uploads of documents that are too long for an event: each once, named by its hash."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from otel_ml.export.answer import Answer
from otel_ml.export.contract import Pace
from otel_ml.export.delivery import Counters, Delivery
from otel_ml.export.documents import Document, DocumentBatch, DocumentQueue, SpooledDocuments
from otel_ml.export.http import HttpSender
from otel_ml.export.pipeline import Pipeline
from otel_ml.export.settings import TRACES_PATH, Settings

_KNOWN: Final = 4_096
_KNOWN_S: Final = 3_600.0  # a store may have deleted it since
_REASON: Final = "artifact: "


class _ArtifactDestination:
    """Stores documents at the artifact endpoint of a collector."""

    def __init__(self, sender: HttpSender, url: str, query: str, page: str) -> None:
        self.page = page
        self._sender = sender
        self._url = url
        self._query = query
        self._uploaded: OrderedDict[str, float] = OrderedDict()
        self.close = sender.close
        self.after_fork = sender.after_fork

    @property
    def is_out_of_reach(self) -> bool:
        """Whether it is not there at the moment."""
        return self._sender.is_out_of_reach

    def has(self, sha256: str) -> bool:
        """Tell whether this process uploaded a document not long ago."""
        at_s = self._uploaded.get(sha256)
        return at_s is not None and time.monotonic() - at_s < _KNOWN_S

    def send(self, batch: DocumentBatch, timeout_s: float) -> Answer:
        """Upload one document, once."""
        document = batch.document
        url = self._url + document.sha256 + self._query
        answer = self._sender.put(url, document.body, timeout_s)
        if answer.delivered:
            self._uploaded[document.sha256] = time.monotonic()
            while len(self._uploaded) > _KNOWN:
                self._uploaded.popitem(last=False)
        return answer


class Uploads:
    """Sends documents on a thread of its own, which starts with the first one.

    Args:
        settings: Of the endpoint that spans go to.
        project: Where the documents gather.
        spool: A directory; each document is written below it before `put` returns.
    """

    def __init__(self, settings: Settings, project: str, spool: Path | None = None) -> None:
        below = f"/api/v1/projects/{quote(project, safe='')}/artifacts/"
        parts = urlsplit(settings.url)
        base = parts.path.rstrip("/").removesuffix(TRACES_PATH).rstrip("/")
        url = urlunsplit(parts._replace(path=base + below, query="", fragment=""))
        query = f"?{parts.query}" if parts.query else ""
        self._address = settings.page + below
        self._destination = _ArtifactDestination(HttpSender(settings), url, query, settings.page)
        self._source = _open_source(project, spool)
        # One a request, at once: there is nothing to wait for.
        self._pipeline: Pipeline[DocumentBatch] = Pipeline(
            self._source, self._destination, Pace(batch_spans=1, delay_s=0.0), what="artifacts"
        )
        self._is_used = False
        if self._source.pending:
            self._begin()

    def put(self, document: Document) -> str | None:
        """Take a document; returns its address, None when it was not taken, or refused at once.

        One that is on its way, or was uploaded by this process in the last hour, is not sent
        again. Waits for room as `Pipeline.put` does.
        """
        sha256 = document.sha256
        if not self._destination.has(sha256):
            self._is_used = True
            self._pipeline.put(document)
            if not (self._source.holds(sha256) or self._destination.has(sha256)):
                return None
        return self._address + sha256

    @property
    def pending(self) -> int:
        """How many documents are neither uploaded nor lost."""
        return self._pipeline.pending

    @property
    def counters(self) -> Counters:
        """What became of documents; reasons of losses are as the receiver said them."""
        return self._pipeline.counters

    @property
    def lost(self) -> dict[str, int]:
        """Documents that are gone for good, by reason."""
        return _named(self.counters.lost)

    def flush(self, timeout_s: float) -> Delivery:
        """Wait until what was put before is settled; see `Pipeline.flush`."""
        if not self._is_used:
            return Delivery()
        return _told(self._pipeline.flush(timeout_s))

    def hasten(self) -> None:
        """Upload without a pause from now on: the process ends."""
        if self._is_used:
            self._pipeline.hasten()

    def close(self, timeout_s: float) -> Delivery:
        """Upload what is there, then stop."""
        if not self._is_used:
            return Delivery()
        return _told(self._pipeline.close(timeout_s))

    def _begin(self) -> None:
        """Upload what an earlier process left behind."""
        self._is_used = True
        self._pipeline.wake()


def _open_source(project: str, spool: Path | None) -> DocumentQueue | SpooledDocuments:
    if spool is not None:
        # The hash, because a project may be called anything, and files may not.
        name = hashlib.sha256(project.encode("utf-8", "replace")).hexdigest()[:16]
        return SpooledDocuments(spool / f"artifacts-{name}")
    return DocumentQueue()


def _told(delivery: Delivery) -> Delivery:
    return replace(delivery, lost=_named(delivery.lost))


def _named(lost: Mapping[str, int]) -> dict[str, int]:
    return {_REASON + reason: count for reason, count in lost.items()}
