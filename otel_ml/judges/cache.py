"""Scores that are known already: by judge version, inputs and outputs."""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import orjson

from otel_ml.capture.values import LIMIT_BYTES
from otel_ml.errors import untrusted
from otel_ml.judges.answer import Evaluation

_ENTRIES: Final = 1_024


class ScoreCache:
    """The last 1,024 scores of one judge. Safe to use from several threads."""

    # No lock, which a fork or a finalizer could find held: each step is one of the dict's own.

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Evaluation] = OrderedDict()

    def find(self, key: bytes) -> Evaluation | None:
        """Return what was said, and keep it longer."""
        found = self._known.get(key)
        if found is not None:
            with suppress(KeyError):  # it was the oldest, and is gone
                self._known.move_to_end(key)
        return found

    def keep(self, key: bytes, evaluation: Evaluation) -> None:
        """Keep a score; errors are not kept, so that the next call tries again."""
        if evaluation.error is not None:
            return
        self._known[key] = evaluation
        if len(self._known) > _ENTRIES:
            with suppress(KeyError):  # others were as many
                self._known.popitem(last=False)


def cache_key(version: str, inputs: Mapping[str, object], outputs: object) -> bytes | None:
    """Return a digest of what a score depends on.

    Returns:
        None where JSON does not say all: what is too long for a run, opaque (an array, a table, an
        object, of which a run shows the beginning) or changed on its way (NaN, a tuple, a date).
    """
    import hashlib  # loads OpenSSL, which is no part of start-up

    seen = {"inputs": dict(inputs), "outputs": outputs}
    with untrusted:
        text = orjson.dumps(seen, option=orjson.OPT_SORT_KEYS)
        if len(text) <= LIMIT_BYTES and orjson.loads(text) == seen:
            return hashlib.sha256(version.encode() + b"\0" + text).digest()
    return None
