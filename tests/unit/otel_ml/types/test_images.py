"""Pillow images read back with mode, size and pixels."""

import base64
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageOps

from otel_ml.types import Image, describe, dump, load, wrap
from tests.support.otel_ml.types.samples import photo, same_image
from tests.support.otel_ml.types.trips import trip

BITS = {"1": 1, "L": 8, "LA": 16, "PA": 16, "RGB": 24, "I": 32, "I;16": 16, "F": 32}
BITS |= dict.fromkeys(["RGBA", "CMYK", "RGBX"], 32) | dict.fromkeys(["YCbCr", "HSV", "LAB"], 24)


def image_of(mode: str, width: int, height: int, raw: bytes) -> Pillow.Image:
    needed = (width * BITS[mode] + 7) // 8 * height
    return Pillow.frombytes(mode, (width, height), (raw * (needed + 1))[:needed])


def said(image: Pillow.Image) -> dict[str, Any]:
    """Return everything that must be equal for two images to be equal."""
    facts: dict[str, Any] = {
        "mode": image.mode,
        "size": image.size,
        "pixels": image.tobytes(),
        "transparency": image.info.get("transparency"),
    }
    if image.palette is not None:
        facts["palette"] = (image.palette.mode, image.getpalette(None))
    return facts


@given(
    mode=st.sampled_from(sorted(BITS)),
    width=st.integers(1, 9),
    height=st.integers(1, 9),
    raw=st.binary(min_size=1),
)
def test_any_image_comes_back(mode: str, width: int, height: int, raw: bytes) -> None:
    """Any image of any mode reads back equal."""
    image = image_of(mode, width, height, raw)
    assert said(load(dump(Image(image))).data) == said(image)


def palette_image(palette: bytes, mode: str, **info: Any) -> Pillow.Image:
    image = Pillow.frombytes("P", (2, 2), bytes([0, 1, 1, 0]))
    image.putpalette(palette, mode)
    image.info.update(info)
    return image


IMAGES = {
    "palette": palette_image(bytes(range(6)), "RGB"),
    "whole palette": palette_image(bytes(range(256)) * 3, "RGB"),
    "palette with one transparent colour": palette_image(bytes(range(6)), "RGB", transparency=1),
    "palette with transparencies": palette_image(bytes(range(6)), "RGB", transparency=b"\x00\x80"),
    "palette with alpha": palette_image(bytes(range(8)), "RGBA"),
    "transparent colour": image_of("RGB", 2, 2, b"\x01\x02\x03"),
    "no pixels": Pillow.new("RGB", (0, 3)),
    "grey": image_of("L", 3, 2, b"\x00\x10\xff"),
}
IMAGES["transparent colour"].info["transparency"] = (1, 2, 3)


@pytest.mark.parametrize("name", IMAGES)
def test_image_comes_back(name: str) -> None:
    """An image reads back with its palette and transparency."""
    assert said(trip(IMAGES[name])) == said(IMAGES[name])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossy_image_is_a_jpeg(mode: str) -> None:
    """A grey or RGB image with `lossless=False` is written as a JPEG and reads back as lossy."""
    data = Image(Pillow.new(mode, (8, 8), 100), lossless=False)
    found = load(dump(data))
    assert isinstance(found, Image)
    assert (data.to_jcr()["params"]["format"], found.lossless) == ("JPEG", False)
    assert (found.data.mode, found.data.size) == (mode, (8, 8))


@pytest.mark.parametrize("mode", ["1", "RGBA", "CMYK", "F", "I;16"])
def test_other_modes_never_lose(mode: str) -> None:
    """An image of another mode is written without loss and keeps its `lossless=False`."""
    image = image_of(mode, 3, 2, b"\x07\x90")
    found = load(dump(Image(image, lossless=False)))
    assert isinstance(found, Image)
    assert (said(found.data), found.lossless) == (said(image), False)


def test_file_comes_back() -> None:
    """An image that is not loaded from its file yet is loaded and reads back equal."""
    file = io.BytesIO()
    image_of("RGB", 3, 2, b"\x01\x02").save(file, "PNG")
    assert said(trip(Pillow.open(file))) == said(image_of("RGB", 3, 2, b"\x01\x02"))


def test_first_frame_of_an_animation_comes_back() -> None:
    """Only the first frame of an image with several frames is written."""
    file = io.BytesIO()
    frames = [Pillow.new("L", (2, 2), shade) for shade in (10, 200)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert trip(Pillow.open(file)).convert("L").tobytes() == bytes([10] * 4)


def test_written_image_is_a_copy() -> None:
    """A written image does not change with the original."""
    image = Pillow.new("L", (1, 1), 7)
    form = wrap(image).to_jcr()
    image.putpixel((0, 0), 0)
    assert load(form).data.tobytes() == b"\x07"


@pytest.mark.parametrize(
    "params",
    [
        {"mode": "F", "size": [10**5, 10**5], "lossless": True, "data": "AAAA"},
        {"mode": "none", "size": [1, 1], "lossless": True, "data": "AAAA"},
        {"mode": "RGB", "size": [1, 1], "lossless": True, "format": "PNG", "data": "AAAA"},
        {"mode": "RGB", "size": [1, 1], "lossless": True, "format": "PNG", "data": "R0lGODlh"},
        {"mode": "RGB", "size": [1, 1], "lossless": "yes", "data": "AAAA"},
    ],
)
def test_broken_params_are_refused(params: dict[str, Any]) -> None:
    """Params that are not an image, or claim a larger image than they hold, are refused."""
    with pytest.raises(ValueError, match=r"Invalid|unrecognized|mode"):
        load({"type": "otel_ml.types.Image", "params": params})


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_picture_stands_upright(orientation: int, mode: str) -> None:
    """The stored file is upright; the loaded image has the original pixels and orientation."""
    image = photo(orientation, mode).copy()
    form = Image(image).to_jcr()["params"]
    upright = ImageOps.exif_transpose(image)
    if "format" in form:
        shown = Pillow.open(io.BytesIO(base64.b64decode(form["data"])))
        assert (shown.size, shown.tobytes()) == (upright.size, upright.tobytes())
    assert same_image(trip(image), image)
    assert describe(Image(image)) == {
        "type": "otel_ml.types.Image",
        "mode": mode,
        "size": [3, 2],
        "orientation": orientation,
        "lossless": True,
    }
