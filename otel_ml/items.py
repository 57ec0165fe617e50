"""Items of data sets: digests, IDs, and the manifest of a version.

A data set version is identified by its content. The same items give the same version on any
machine.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import orjson

from otel_ml import attributes as wire

# A manifest is sent as numbered artifacts with this prefix, each at most PART_BYTES long.
MANIFEST: Final = "items."
PART_BYTES: Final = 65_536
_PARTS_A_RECORD: Final = 8
ID_CHARS: Final = 256
REASON_CHARS: Final = 1_000
ID_WANTED: Final = f"a text of 1 to {ID_CHARS} characters without a line break"
_OWN_ID_CHARS: Final = 16


def canonical_json(value: object) -> bytes:
    """Return a JSON value as bytes that depend only on its content."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest_of(value: object) -> str:
    """Return the SHA-256 of a JSON value, as 64 hex digits."""
    return sha256(canonical_json(value)).hexdigest()


def digest_item(inputs: object, expected: object, tags: Mapping[str, Any]) -> str:
    """Return a hash of a data set item: of its inputs, expected value and tags.

    Items with the same content have the same hash, even if they were made from different runs.
    """
    return digest_of({"inputs": inputs, "expected": expected, "tags": dict(tags)})


def is_item_id(text: object) -> bool:
    """Return whether a value can be the ID of an item."""
    return (
        isinstance(text, str)
        and len(text) <= ID_CHARS
        and text.splitlines() == [text]
        and not any("\ud800" <= letter <= "\udfff" for letter in text)
    )


def name_items(items: Sequence[tuple[str, object, str]]) -> list[str]:
    """Return an ID for each item of a data set: its own ID, or else a hash of its inputs.

    Several items with the same inputs get numbers, such as ``3f2a``, ``3f2a~2`` and ``3f2a~3``. The
    numbers do not depend on the order of the items.

    Args:
        items: For each item: its own ID (empty if it has none), its inputs, and its digest from
            `digest_item`.
    """
    named = [own for own, _, _ in items]
    alike: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for place, (own, inputs, digest) in enumerate(items):
        if not own:
            alike[digest_of(inputs)[:_OWN_ID_CHARS]].append((digest, place))
    taken = {*named}
    for start, same in alike.items():
        number = 1
        for _, place in sorted(same):
            while (name := start if number == 1 else f"{start}~{number}") in taken:
                number += 1
            taken.add(name)
            named[place] = name
    return named


def write_manifest(digests: Mapping[str, str]) -> str:
    """Return the manifest of a data set version: which items it contains.

    It has a line ``id digest`` for each item, sorted by ID.
    """
    return "".join(f"{item_id} {digests[item_id]}\n" for item_id in sorted(digests))


def digest_version(digests: Mapping[str, str]) -> str:
    """Return the digest of a version: the SHA-256 of its manifest, as 64 hex digits."""
    return sha256(write_manifest(digests).encode()).hexdigest()


def write_version(
    name: str, digests: Mapping[str, str], description: str, reason: str
) -> tuple[dict[str, Any], list[list[dict[str, Any]]]]:
    """Convert a version of a data set to the span attributes and events that are sent.

    The list of the version's items (manifest) is sent as span events. For a large version, the
    events are spread over several records.

    Args:
        name: Name of the data set.
        digests: Digest of each item, by ID.
        description: Description of the data set.
        reason: Why the version was made. May be empty.

    Returns:
        A pair. First, the span attributes, which are the same for all records. Second, a list with
        one element for each record, which contains the attributes of each event of the record.
    """
    manifest = write_manifest(digests)
    parts = split_manifest(manifest)
    fields = {"items": len(digests), "parts": len(parts), "description": description}
    # The store keeps the greatest text of a version. With the reason first, sending it again
    # without a reason does not remove it.
    definition = orjson.dumps({"reason": reason, **fields} if reason else fields).decode()
    facts = {
        wire.TARGET_MODEL: name,
        wire.TARGET_VERSION: sha256(manifest.encode()).hexdigest(),
        wire.TARGET_KIND: "dataset",
        wire.MODEL_DEFINITION: definition,
    }
    events = [_artifact(f"{MANIFEST}{number}", part) for number, part in enumerate(parts)]
    starts = range(0, len(events), _PARTS_A_RECORD)
    return facts, [events[start : start + _PARTS_A_RECORD] for start in starts]


def _artifact(ref: str, text: str) -> dict[str, Any]:
    document = orjson.dumps(text)
    return {
        wire.ARTIFACT_REF: ref,
        wire.ARTIFACT_BYTES: len(document),
        wire.ARTIFACT_SHA256: sha256(document).hexdigest(),
        wire.ARTIFACT_JSON: document.decode(),
    }


def split_manifest(manifest: str) -> list[str]:
    """Split a manifest (the list of a version's items) into parts that are small enough to send.

    No line is cut.
    """
    parts: list[str] = []
    lines: list[str] = []
    size = 2  # the quotes of a JSON text, in which a line break takes two bytes
    for line in manifest.splitlines(keepends=True):
        added = len(orjson.dumps(line)) - 2
        if lines and size + added > PART_BYTES:
            parts.append("".join(lines))
            lines, size = [], 2
        lines.append(line)
        size += added
    return [*parts, "".join(lines)] if lines or not parts else parts


def read_manifest(manifest: str) -> dict[str, str]:
    """Return the digests of a version's items by ID, in the order of the manifest."""
    entries = (line.rpartition(" ") for line in manifest.split("\n") if line)
    return {item_id: digest for item_id, _, digest in entries}


def refer_document(kind: str, digest: str) -> dict[str, str]:
    """Return the placeholder for a value of an item that is stored separately, such as an array.

    The placeholder contains the type and the hash of the value.
    """
    return {wire.ARTIFACT_TYPE: kind, wire.ARTIFACT_SHA256: digest}


def find_documents(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Find the placeholders in a JSON value. Each replaces a value that is stored separately.

    Yields:
        For each placeholder, its path, such as ``image.0``, and the hash of the stored value.
    """
    if isinstance(value, Mapping):
        if value.keys() == {wire.ARTIFACT_TYPE, wire.ARTIFACT_SHA256}:
            yield path, str(value[wire.ARTIFACT_SHA256])
            return
        for key, inner in value.items():
            yield from find_documents(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from find_documents(inner, f"{path}.{place}" if path else str(place))
