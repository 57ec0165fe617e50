"""Takes snapshots of images and figures, and describes these snapshots."""

import math
import sys
from operator import mul, sub
from typing import Any, Final

from otel_ml.capture.cells import HEAD
from otel_ml.capture.description import type_name_of
from otel_ml.capture.snapshot import Snapshot, Taker, Way

_THUMBNAIL: Final = 64  # pixels per side
_SIDES: Final = (_THUMBNAIL, _THUMBNAIL)
_DIRECT: Final = frozenset({"L", "RGB", "RGBA"})  # modes that need no palette
_PIXELS_BYTES: Final = 2 * 4 * _THUMBNAIL * _THUMBNAIL


def way_of_pillow(kind: type) -> Way | None:
    """Return the function that takes snapshots of Pillow images; None for other classes."""
    return _take_image if kind.__name__ == "Image" else None


def _take_image(image: Any, taker: Taker, depth: int) -> object:
    """Copy a thumbnail of 64 by 64 pixels, and as many original pixels from the middle.

    An image that was not loaded from its file yet is recorded without pixels, and is not loaded.
    """
    size, mode = image.size, image.mode
    owned = vars(image)  # accessing the pixels would read the file
    core = owned.get("_im", owned.get("im"))
    if core is None or min(size) < 1 or not taker.has_room(_PIXELS_BYTES):
        return Snapshot(type(image), _describe_image, (mode, size), 512)
    left, top = (max((length - _THUMBNAIL) // 2, 0) for length in size)
    width, height = (min(length, _THUMBNAIL) for length in size)
    box = (left, top, left + width, top + height)
    if mode in _DIRECT and hasattr(core, "resize"):
        # what `Image.resize` and `Image.crop` call inside; direct calls cost a third
        pixels = (core.resize(_SIDES, 0, (0, 0, *size)), core.crop(box))
    else:
        pixels = (image.resize(_SIDES, 0), image.crop(box))
    return Snapshot(type(image), _describe_image, (mode, size, *pixels), _PIXELS_BYTES)


def _describe_image(mode: str, size: tuple[int, int], *pixels: Any) -> object:
    """Describe an image with brightness, contrast and sharpness.

    Brightness is the mean grey value (0 to 255), contrast its standard deviation. Sharpness is the
    mean squared difference of neighbouring pixels in the middle of the image.
    """
    described: dict[str, object] = {"type": "PIL.Image", "mode": mode, "size": [*size]}
    if not pixels:
        return described
    grey, inner = map(_read_grey, pixels)
    mean = sum(grey) / len(grey)
    squares = sum(map(mul, grey, grey)) / len(grey)
    steps = [*map(sub, inner[1:], inner)]
    return {
        **described,
        "brightness": round(mean, 2),
        "contrast": round(math.sqrt(max(squares - mean * mean, 0.0)), 2),
        "sharpness": round(sum(map(mul, steps, steps)) / max(len(steps), 1), 2),
    }


def _read_grey(pixels: Any) -> bytes:
    """Return the grey values of a Pillow image, or of the pixel object inside it."""
    if not hasattr(pixels, "tobytes"):
        grey = pixels.convert("L", 0)
        pixels = sys.modules["PIL.Image"].new("L", grey.size)
        pixels.im.paste(grey, (0, 0, *grey.size))
    read: bytes = pixels.convert("L").tobytes()
    return read


def way_of_matplotlib(kind: type) -> Way | None:
    """Return the function that takes snapshots of Matplotlib figures; None for other classes."""
    return _take_figure if kind.__name__ == "Figure" else None


def _take_figure(figure: Any, taker: Taker, depth: int) -> object:
    width, height = figure.get_size_inches()
    parts = (type(figure), float(width), float(height), float(figure.dpi), len(figure.axes))
    return Snapshot(type(figure), _describe_figure, parts, 512)


def _describe_figure(kind: type, width: float, height: float, dpi: float, axes: int) -> object:
    size = [round(width * dpi), round(height * dpi)]
    return {"type": type_name_of(kind), "attributes": {"size": size, "axes": axes}}


def way_of_plotly(kind: type) -> Way | None:
    """Return the function that takes snapshots of plotly figures; None for other classes."""
    return _take_plot if kind.__name__ == "BaseFigure" else None


def _take_plot(figure: Any, taker: Taker, depth: int) -> object:
    """Record how many traces a figure has, and the types of the first ones."""
    traces = figure.data
    kinds = [str.__str__(trace.type) for trace in traces[:HEAD]]
    return Snapshot(type(figure), _describe_plot, (type(figure), len(traces), kinds), 512)


def _describe_plot(kind: type, traces: int, kinds: list[str]) -> object:
    return {"type": type_name_of(kind), "attributes": {"traces": traces, "kinds": kinds}}
