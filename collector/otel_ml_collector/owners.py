"""The owner of a record, as text: a run ID, a trace key, a tag, a session or a model version.

Run IDs begin with a hex digit, so they sort before `FIRST`. All other owners sort after it.
"""

from typing import Final

from otel_ml.records import Run
from otel_ml_collector.records import text_of

TRACE_KEY_CHARS: Final = 256
KEY: Final = "key:"
TAG: Final = "tag:"
_MODEL: Final = "model:"
SESSION_OWNER: Final = "session:"
SET: Final = "set:"
# Prefix of a provider's response ID among the texts of tags.
RESPONSE: Final = "gen_ai.response.id="
RESPONSE_CHARS: Final = 256
FIRST: Final = KEY


def own_key(key: str) -> str:
    """Return the owner for the trace with a key, whether its runs have arrived or not."""
    return KEY + key[:TRACE_KEY_CHARS]


def tag_texts(run: Run) -> list[str]:
    """List a run's tags as ``name=value``, and its response ID in the same form."""
    texts = [f"{tag.name}={text_of(tag.value)}" for tag in run.tags]
    return [*texts, f"{RESPONSE}{run.response_id}"] if run.response_id else texts


def own_tag(text: str) -> str:
    """Return the owner for all runs with a tag, given as ``name=value``."""
    return TAG + text


def own_response(response_id: str) -> str:
    """Return the owner for runs with a provider's response ID, which is stored like a tag."""
    return own_tag(f"{RESPONSE}{response_id[:RESPONSE_CHARS]}")


def own_session(session: str) -> str:
    """Return the owner for a session, whether its runs have arrived or not."""
    return SESSION_OWNER + session


def own_model(name: str, digest: str) -> str:
    """Return the owner for a version of a model."""
    return f"{_MODEL}{digest}:{name}"


def own_dataset(name: str, digest: str) -> str:
    """Return the owner for a version of a data set."""
    return f"{SET}{digest}:{name}"


def own_item(digest: str) -> str:
    """Return the owner for an item of data sets."""
    return SET + digest


def model_of(owner: str) -> str:
    """Return the model of an owner that is a model version; empty for other owners."""
    return owner.partition(":")[2].partition(":")[2] if owner.startswith(_MODEL) else ""


def split_run_id(run_id: str) -> tuple[str, str]:
    """Return the trace ID and the span ID of a run ID, both in hex."""
    trace_id, _, span_id = run_id.partition("-")
    return trace_id, span_id


def is_run(owner: str) -> bool:
    """Return whether an owner is a run ID."""
    return owner < FIRST
