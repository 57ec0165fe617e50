"""Tests of reading the type and size of an image from its first bytes."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from otel_ml_collector.web.images import Head, read_head


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("png", {}),
        ("jpeg", {}),
        ("jpeg", {"progressive": True, "comment": b"x" * 9_000}),
        ("gif", {}),
        ("webp", {}),
        ("webp", {"lossless": True}),
        ("webp", {"exif": b"Exif\0\0" + bytes(40)}),
    ],
)
def test_sides(form: str, options: dict[str, object]) -> None:
    """The size that Pillow wrote is read."""
    file = io.BytesIO()
    Image.new("RGB", (321, 45), "red").save(file, form, **options)
    head = read_head(file.getvalue())
    assert head == Head(f"image/{form}", 321, 45)
    assert head.why == ""


@pytest.mark.parametrize(
    ("sides", "why"),
    [
        ((4_096, 4_096), ""),
        ((16_384, 1), ""),
        ((4_097, 4_096), "it is too large (4,097 × 4,096 pixels)"),
        ((16_385, 1), "it is too large (16,385 × 1 pixels)"),
        ((0, 7), "its header declares no size"),
    ],
)
def test_what_is_not_drawn(sides: tuple[int, int], why: str) -> None:
    """An image of more than 16,777,216 pixels, a side over 16,384 or no size is not drawn."""
    assert Head("image/png", *sides).why == why


@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF1234WEBPVP8 "]),
    st.binary(),
)
def test_anything(start: bytes, rest: bytes) -> None:
    """Any bytes after an image signature can be read without an error."""
    head = read_head(start + rest)
    assert head is not None
    assert head.width >= 0
    assert read_head(b"no" + rest) is None
