"""Tests of the small pictures that are taken of images and arrays."""

import base64
import importlib
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from otel_ml.capture.taker import ValueTaker, describe
from otel_ml.capture.values import encode


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("P", "JPEG"), ("RGBA", "WEBP")])
def test_thumbnail_of_an_image(mode: str, kind: str) -> None:
    """A thumbnail is at most 16 KB long and has the shape of the image."""
    pixels = np.random.default_rng(0).integers(0, 256, (3_000, 4_000, 3), dtype=np.uint8)
    described = describe(Image.fromarray(pixels).convert(mode))
    assert isinstance(described, dict)
    text = described["thumbnail"]
    assert len(text) <= 16 * 1024
    with Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == (kind, (96, 72))


def test_thumbnails_of_a_burst() -> None:
    """While many images wait to be sent, the thumbnails of others are smaller."""
    image = Image.new("RGB", (400, 300), (9, 9, 9))
    waiting = [ValueTaker().take(image) for _ in range(20)]
    assert sum(snapshot.weight > 20_000 for snapshot in waiting) == 4  # type: ignore[attr-defined]
    described = map(describe, waiting)
    assert all(isinstance(one, dict) and one["thumbnail"] for one in described)
    waiting.clear()
    assert ValueTaker().take(image).weight > 20_000  # type: ignore[attr-defined]


def test_thumbnails_of_a_payload() -> None:
    """Only the first three images of a payload have thumbnails, so that none is cut."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    images = [Image.fromarray(noise)] * 20
    text = encode(ValueTaker().take(images)).text
    assert (text.count('"thumbnail"'), text.count('"brightness"')) == (3, 20)


@pytest.mark.parametrize(
    "shape", [(40, 60, 3), (3, 40, 60), (1, 3, 40, 60)], ids=["last", "first", "batch"]
)
def test_array_of_image_shape(shape: tuple[int, ...]) -> None:
    """An array that looks like an image has evenly spaced pixels of it."""
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    described = describe(array)
    assert isinstance(described, dict)
    sample = described["sample"]
    pixels = array if shape[2] == 3 else array.reshape(3, 40, 60).transpose(1, 2, 0)
    assert (sample["mode"], sample["size"]) == ("RGB", [30, 20])
    assert base64.b64decode(sample["pixels"]) == pixels[::2, ::2].tobytes()
    scaled = describe(array / 255.0)
    assert isinstance(scaled, dict)
    close = np.frombuffer(base64.b64decode(scaled["sample"]["pixels"]), np.uint8)
    assert np.abs(close.astype(int) - pixels[::2, ::2].ravel()).max() <= 1


def test_sample_of_a_long_array() -> None:
    """A long array of numbers has at most 64 of them, evenly spaced."""
    for array in (np.arange(1_000), np.arange(1_000) / 4):
        described = describe(array)
        assert isinstance(described, dict)
        assert described["sample"] == array[::16].tolist()


def test_first_rows_of_a_table() -> None:
    """A table has its first rows if its columns are sampled at different distances."""
    pandas: Any = importlib.import_module("pandas")
    table = pandas.DataFrame({"city": ["Halle", "Leipzig"] * 400, "area": np.arange(800) / 4})
    described = describe(table)
    assert isinstance(described, dict)
    assert described["rows"] == {
        "city": ["Halle", "Leipzig"] * 4,
        "area": [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75],
    }
    assert "rows" not in describe(table[["area"]])  # type: ignore[operator]
