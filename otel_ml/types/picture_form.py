"""Matplotlib and plotly figures as JSON: the pictures that they draw, as PNG."""

import io
import math
from importlib.util import find_spec
from typing import Any, Final

from otel_ml.capture.description import type_name
from otel_ml.file_formats import PNG
from otel_ml.types.data import File, Form, ValueWriter
from otel_ml.types.scalars import to_base64

_PIXELS: Final = 16_777_216  # pages do not show larger pictures
_SIZE: Final = slice(16, 24)  # width and height in a PNG header, four bytes each
_LEAST_DPI: Final = 1


def why_not(figure: Any) -> str:
    """Explain why a figure cannot be drawn; return "" if it can."""
    is_plotly = hasattr(type(figure), "to_plotly_json")
    if is_plotly and find_spec("kaleido") is None:
        return "expected kaleido to be installed, which draws figures of plotly"
    return ""


def write(figure: Any, _writer: ValueWriter) -> Form:
    """Draw a figure as it is now, and serialise it like an image."""
    raw = _draw(figure)
    width, height = (int.from_bytes(raw[_SIZE][at : at + 4], "big") for at in (0, 4))
    return {
        "mode": "RGBA",
        "size": [width, height],
        "lossless": True,
        "format": "PNG",
        "data": to_base64(raw),
        "of": type_name(figure),
    }


def write_file(figure: Any) -> File | str:
    """Draw a figure as it is now, as a PNG file."""
    return File(PNG, _draw(figure))


def _draw(figure: Any) -> bytes:
    """Draw a figure as PNG. The same matplotlib figure always gives the same bytes."""
    if hasattr(type(figure), "to_plotly_json"):
        drawn: bytes = figure.to_image(format="png")
        return drawn
    figure = figure.get_figure() or figure
    while hasattr(figure, "parent"):  # a subfigure
        figure = figure.figure
    width, height = figure.get_size_inches()
    dpi = min(figure.get_dpi(), max(math.sqrt(_PIXELS / (width * height)) - 1, _LEAST_DPI))
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return file.getvalue()
