"""Tests of the forms in which payloads are shown."""

import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import given

from otel_ml_collector.errors import BadInput
from otel_ml_collector.web.media import ShownPicture, ShownSound
from otel_ml_collector.web.payload import (
    Crumb,
    Members,
    Raw,
    ShownText,
    Tree,
    list_members,
    make_payload,
    write_setting,
)
from tests.unit.otel_ml_collector.web.values import json_values

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABXvMqOgAAAABJRU5ErkJggg=="
)


WAV = base64.b64encode(b"RIFF\x24\0\0\0WAVEfmt " + bytes(32)).decode()


def picture(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def grown(side: int) -> bytes:
    """Return a PNG whose header declares the given width."""
    return PIXEL[:16] + side.to_bytes(4) + PIXEL[20:]


@pytest.mark.parametrize(
    ("value", "forms"),
    [
        (None, ["Tree", "Raw"]),
        ("Where?", ["Text", "Raw"]),
        ({"question": "Where?"}, ["Text", "Raw"]),
        ({"a": "Where?", "b": 1}, ["Values", "Tree", "Raw"]),
        ({"a": {"$": "bytes", "v": "AA=="}}, ["Tree", "Raw"]),
        ([{"content": "69 hours", "score": 0.9}], ["Passages", "Tree", "Raw"]),
        (f"data:audio/wav;base64,{WAV}", ["Audio", "Raw"]),
        (
            {"input_audio": {"data": WAV, "format": "wav"}, "type": "input_audio"},
            ["Audio", "Tree", "Raw"],
        ),
        ([{"role": "user", "content": "Where?"}], ["Chat", "Tree", "Raw"]),
        ([{"a": 1}, {"a": 2}], ["Table", "Tree", "Raw"]),
        ({"x": [0.5] * 8}, ["Numbers", "Tree", "Raw"]),
        (picture(PIXEL), ["Image", "Raw"]),
        (picture(grown(4_096)), ["Image", "Raw"]),
        (picture(grown(4_097)), ["Image", "Raw"]),
        (picture(b"<svg onload=alert(1)>"), ["Image", "Raw"]),
        (picture(PIXEL, "svg+xml"), ["Image", "Raw"]),
        (base64.b64encode(bytes(range(256)) * 4).decode(), ["Blob", "Raw"]),
        ("word" * 200, ["Text", "Raw"]),
    ],
)
def test_forms(value: Any, forms: list[str]) -> None:
    """Each value is shown first in the form that suits it best."""
    assert make_payload(value).forms == forms


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (picture(PIXEL), ""),
        (picture(grown(16_384)), ""),
        (picture(grown(16_385)), "it is too large (16,385 × 1 pixels)"),
        (picture(grown(0)), "its header declares no size"),
        (picture(PIXEL[:12]), "its header declares no size"),
        (picture(PIXEL, "gif"), "it is declared as image/gif, but is something else"),
        (picture(b"<svg onload=alert(1)>"), "it is declared as image/png, but is something else"),
        (picture(PIXEL, "svg+xml"), "this form of image/svg+xml is not supported"),
        ("data:image/png,abc", "this form of image/png is not supported"),
        ("data:image/png;base64,abcde", "its base64 encoding is invalid"),
        (picture(bytes(600_000)), "it is too large (over 700,000 characters)"),
    ],
    ids=range(11),
)
def test_pictures(text: str, why: str) -> None:
    """An image that is invalid or too large is not drawn, and the reason is shown."""
    shown = make_payload(text).shown
    assert isinstance(shown, ShownPicture)
    assert (shown.address, shown.why) == (None if why else text, why)


def test_long_text_is_folded() -> None:
    """Only the first 600 characters or 12 lines of a long text are shown, the rest is folded."""
    text = make_payload("x y" * 1_000).shown
    assert isinstance(text, ShownText)
    assert (len(text.head), text.part.total, text.is_long, text.part.is_part) == (
        600,
        3_000,
        True,
        False,
    )
    lines = make_payload("\n".join(map(str, range(100)))).shown
    assert isinstance(lines, ShownText)
    assert lines.head.split("\n") == [str(number) for number in range(12)]


@pytest.mark.parametrize(("first", "start"), [(0, 0), (20_000, 20_000), (7, 7), (10**8, 280_000)])
def test_long_text_in_parts(first: int, start: int) -> None:
    """A very long text is shown in parts of 20,000 characters from any start."""
    text = "0123456789" * 30_000
    shown = make_payload(text, first=first).shown
    assert isinstance(shown, ShownText)
    assert (shown.part.items, shown.part.first) == (text[start : start + 20_000], start)


def test_raw_is_bounded() -> None:
    """Raw JSON is cut at 100,000 characters, and the cut is shown."""
    shown = make_payload(list(range(100_000)), "Raw").shown
    assert isinstance(shown, Raw)
    assert (len(shown.text), shown.is_cut) == (100_000, True)
    whole = make_payload({"a": [1]}, "Raw").shown
    assert isinstance(whole, Raw)
    assert orjson.loads(whole.text) == {"a": [1]}


def test_a_way_into_a_tree() -> None:
    """A path opens a value deep in a tree, with a link for each step."""
    value = {"a": [0, {"b": "text"}], "c": 1}
    shown = make_payload(value, "Tree", "0.1.0").shown
    assert isinstance(shown, Tree)
    assert shown.crumbs == [Crumb("a", "0"), Crumb("1", "0.1"), Crumb("b", "0.1.0")]
    assert shown.text is not None
    assert shown.text.head == "text"
    for wrong in ("9", "0.2", "1.0", "x", "-1", "0..0", "\u0663", "9" * 99):
        with pytest.raises(BadInput, match="This value has nothing at"):
            make_payload(value, "Tree", wrong)


@pytest.mark.parametrize(
    ("text", "is_played"),
    [
        (f"data:audio/wav;base64,{WAV}", True),
        (f"data:audio/mpeg;base64,{WAV}", False),
        (f"data:audio/wav;base64,{base64.b64encode(b'<script>alert(1)</script>').decode()}", False),
        (f"data:audio/wav;base64,{WAV + 'A' * 700_000}", False),
    ],
    ids=range(4),
)
def test_sounds(text: str, is_played: bool) -> None:
    """A sound has a player only if its bytes are what they claim to be."""
    shown = make_payload(text).shown
    if isinstance(shown, ShownSound):
        assert (shown.address is not None) == is_played
    assert isinstance(shown, ShownSound) or not is_played


def test_values_of_an_object() -> None:
    """An object is a list of short values, and of others in their own forms."""
    value = {
        "area": 119,
        "price": 1234.56789,
        "lift": False,
        "none": None,
        "rooms": [1, 2],
        "table": [{"a": 1}, {"a": 2}],
        "nested": {"a": {"b": 1}},
    }
    members = list_members(value)
    assert [(one.name, one.text, one.exact) for one in members.short] == [
        ("area", "119", ""),
        ("price", "1235", "1234.56789"),
        ("lift", "no", ""),
        ("none", "–", ""),
        ("rooms", "1, 2", ""),
    ]
    forms = [(one.name, one.payload.form) for one in members.long if one.payload]
    assert forms == [("table", "Table"), ("nested", "Tree")]
    large = list_members({f"t{place}": "x y " * 20_000 for place in range(20)})
    assert len(large.long) == 12
    texts = [one.payload.shown for one in large.long if one.payload]
    assert {len(text.part.items) for text in texts if isinstance(text, ShownText)} == {4_000}
    many = make_payload({f"f{place}": place for place in range(600)}).shown
    assert isinstance(many, Members)
    assert (len(many.short), many.total, many.has_search) == (500, 600, True)


@pytest.mark.parametrize(
    ("value", "name", "text", "exact"),
    [
        ({"y": 1.23456789}, "y", "1.235", "1.23456789"),
        (-2.71134, "value", "−2.711", "-2.71134"),
        (-3, "value", "−3", ""),
        (["truth", "booleans"], "value", "truth, booleans", ""),
    ],
)
def test_one_short_value(value: Any, name: str, text: str, exact: str) -> None:
    """A single number or a short list is a line, with the exact number in its title."""
    shown = make_payload(value).shown
    assert isinstance(shown, Members)
    [member] = shown.short
    assert (member.name, member.text, member.exact) == (name, text, exact)


def test_image_among_values() -> None:
    """The description of an image or of an array of image shape shows a thumbnail."""
    described = {"type": "PIL.Image", "mode": "RGB", "size": [1024, 768]}
    members = list_members({"photo": {**described, "thumbnail": picture(PIXEL)}, "rooms": 4})
    assert members.long[0].payload is not None
    shown = members.long[0].payload.shown
    assert isinstance(shown, ShownPicture)
    assert (shown.width, shown.height, shown.address) == (1024, 768, picture(PIXEL))
    pixels = {"mode": "RGB", "size": [2, 1], "pixels": base64.b64encode(bytes(6)).decode()}
    array = {"type": "numpy.ndarray", "dtype": "uint8", "shape": [72, 96, 3]}
    shown = make_payload({**array, "sample": pixels}).shown
    assert isinstance(shown, ShownPicture)
    assert (shown.width, shown.height, shown.is_thumbnail) == (96, 72, True)
    assert make_payload(shown.address).form == "Image"
    batch = {"type": "torch.Tensor", "dtype": "float32", "shape": [1, 3, 72, 96], "sample": pixels}
    shown = make_payload(batch).shown
    assert isinstance(shown, ShownPicture)
    assert (shown.width, shown.height, shown.note) == (96, 72, "float32")
    wrong: list[dict[str, object]] = [
        {**described, "thumbnail": picture(b"<svg onload=alert(1)>")},
        {**described, "thumbnail": "javascript:alert(1)"},
        {**array, "sample": {**pixels, "size": [2, 2]}},
        {**array, "sample": {**pixels, "size": [10**9, 10**9]}},
        {**array, "sample": {**pixels, "mode": "<b>"}},
    ]
    assert {make_payload(value).form for value in wrong} == {"Values"}


@given(json_values)
def test_any_value_has_a_form(value: Any) -> None:
    """Any value has at least one form, and its raw JSON is the value."""
    shown = make_payload(value)
    assert shown.forms[-1] == "Raw"
    assert len(shown.forms) > 1
    raw = make_payload(value, "Raw").shown
    assert isinstance(raw, Raw)
    assert raw.is_cut or json.loads(raw.text) == value


def test_settings() -> None:
    """Settings are written for people: instructions as their text, other values without JSON."""
    instructions = [{"type": "text", "content": "Be short."}, {"type": "text", "content": "No."}]
    settings = [instructions, {"mode": "fast", "n": 2}, ["a", "b"], "plain", 0.7, True]
    texts = ["Be short.\nNo.", "fast · n 2", "a, b", "plain", "0.7", "true"]
    assert [write_setting(value) for value in settings] == texts
