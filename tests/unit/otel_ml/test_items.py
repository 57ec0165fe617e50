"""Digests and ids of items, and the manifest of a data set version."""

from hashlib import sha256

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.items import (
    PART_BYTES,
    digest_item,
    digest_version,
    find_documents,
    is_item_id,
    name_items,
    read_manifest,
    refer_document,
    split_manifest,
    write_manifest,
)

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(is_item_id)
manifests = st.dictionaries(ids, st.binary(min_size=32, max_size=32).map(bytes.hex))


def test_digest() -> None:
    """An item's digest is the SHA-256 of its sorted JSON."""
    text = b'{"expected":"4","inputs":{"a":1,"b":[2.0,null]},"tags":{"topic":"sums"}}'
    inputs = {"b": [2.0, None], "a": 1}
    assert digest_item(inputs, "4", {"topic": "sums"}) == sha256(text).hexdigest()


def test_version_digest() -> None:
    """A version's digest is the SHA-256 of its lines, sorted by id."""
    one, two = "1" * 64, "2" * 64
    text = f"a {two}\nb c {one}\n".encode()
    assert digest_version({"b c": one, "a": two}) == sha256(text).hexdigest()


@given(manifests)
def test_manifest_is_read_back(digests: dict[str, str]) -> None:
    """A manifest that was split into parts reads back unchanged."""
    parts = split_manifest(write_manifest(digests))
    assert read_manifest("".join(parts)) == digests


def test_parts_are_bounded() -> None:
    """Each part fits into an artifact as JSON text, whatever characters the ids have."""
    digests = {f"{number} \x01\x02\x03é": "0" * 64 for number in range(5_000)}
    parts = split_manifest(write_manifest(digests))
    assert len(parts) > 5
    assert max(len(orjson.dumps(part)) for part in parts) <= PART_BYTES
    assert read_manifest("".join(parts)) == digests


@given(st.permutations(range(6)))
def test_ids(order: list[int]) -> None:
    """An item without an id gets one from its inputs, with a number by digest, not by order."""
    start = sha256(b'{"q":1}').hexdigest()[:16]
    other = sha256(b'{"q":2}').hexdigest()[:16]
    same: object = {"q": 1}
    items = [
        ("", same, "c" * 64),
        ("", same, "a" * 64),
        ("", same, "b" * 64),
        ("", {"q": 2}, "d" * 64),
        ("own", same, "e" * 64),
        (f"{start}~2", same, "f" * 64),
    ]
    wanted = [f"{start}~4", start, f"{start}~3", other, "own", f"{start}~2"]
    assert name_items([items[place] for place in order]) == [wanted[place] for place in order]


@pytest.mark.parametrize("bad", ["", "a\nb", "a\n", "x" * 257, 3, "a\u2028b", "\ud800"])
def test_bad_ids(bad: object) -> None:
    """A bad id is refused: an id is one short line of text."""
    assert not is_item_id(bad)


def test_documents() -> None:
    """Typed values are found at any depth, with their path."""
    image, table = (refer_document("otel_ml.types.X", digit * 64) for digit in "12")
    value = {"image": image, "rows": [1, {"table": table}], "plain": {"a": 1}}
    assert [*find_documents(value, "inputs")] == [
        ("inputs.image", "1" * 64),
        ("inputs.rows.1.table", "2" * 64),
    ]
