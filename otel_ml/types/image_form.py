"""Pillow images as JSON: PNG or JPEG, which a page can show, or raw pixels."""

import io
from typing import Any, Final

from PIL import Image, PngImagePlugin

from otel_ml.errors import untrusted
from otel_ml.file_formats import JPEG, PNG
from otel_ml.types.data import Decode, File, Form, Params, ValueWriter
from otel_ml.types.scalars import from_base64, to_base64

JPEG_MODES: Final = frozenset({"L", "RGB"})
_PNG_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
_JPEG_QUALITY: Final = 95
_ORIENTATION: Final = 274
_LAST_ORIENTATION: Final = 8
_Turn: Final = Image.Transpose
# for each EXIF orientation: the transposition that makes an image upright, and its inverse
_TURNS: Final = {
    2: (_Turn.FLIP_LEFT_RIGHT, _Turn.FLIP_LEFT_RIGHT),
    3: (_Turn.ROTATE_180, _Turn.ROTATE_180),
    4: (_Turn.FLIP_TOP_BOTTOM, _Turn.FLIP_TOP_BOTTOM),
    5: (_Turn.TRANSPOSE, _Turn.TRANSPOSE),
    6: (_Turn.ROTATE_270, _Turn.ROTATE_90),
    7: (_Turn.TRANSVERSE, _Turn.TRANSVERSE),
    8: (_Turn.ROTATE_90, _Turn.ROTATE_270),
}
_SIDEWAYS: Final = frozenset({_Turn.TRANSPOSE, _Turn.ROTATE_90, _Turn.ROTATE_270, _Turn.TRANSVERSE})
_ORIENTATIONS: Final = frozenset("12345678")
_TURN_KEY: Final = (
    "otel_ml orientation"  # of a text chunk in PNG, or at the start of a JPEG comment
)
_JPEG_START: Final = b"\xff\xd8"
_PNG_LEVEL: Final = 1  # compression level; the default takes three times as long and saves a tenth


def why_not(value: object) -> str:
    """Explain why a value is not a Pillow image; return "" if it is."""
    return "" if issubclass(type(value), Image.Image) else "expected an image of Pillow"


def write(image: Image.Image, lossless: bool, writer: ValueWriter) -> Form:
    """Convert a Pillow image to JSON values. An animation is reduced to its current frame.

    If the EXIF data contain an orientation, the picture is stored upright, as web pages show it.
    `read` restores the original orientation.

    Args:
        image: The image. It is loaded if necessary.
        lossless: Whether to store all pixels exactly. If False, grey and RGB images are stored as
            JPEG, which is smaller.
        writer: Converts other values to JSON, such as the transparency of a palette.
    """
    image.load()
    form = {"mode": image.mode, "size": list(image.size), "lossless": lossless}
    orientation = orientation_of(image)
    if orientation is not None:
        form["orientation"] = orientation
    image = _as_upright(image, orientation)
    if not lossless and image.mode in JPEG_MODES:
        raw = _saved(image, "JPEG", quality=_JPEG_QUALITY)
        if raw is not None:
            return {**form, "format": "JPEG", "data": to_base64(raw)}
    if image.mode in _PNG_MODES:
        raw = _saved(image, "PNG", compress_level=_PNG_LEVEL)
        if raw is not None and _is_whole(image, raw):
            return {**form, "format": "PNG", "data": to_base64(raw)}
    return {**form, **_pixels(image, writer)}


def write_file(image: Image.Image, *, lossless: bool) -> File | str:
    """Convert an image to a PNG or JPEG file; return why not, if it would change it.

    The file shows the image upright. A text in the file keeps the orientation, which `read_file`
    restores.

    Args:
        image: The image. It is loaded if necessary. Of an animation, the current frame is written.
        lossless: Whether to store all pixels exactly, as PNG. If False, grey and RGB images become
            JPEG.
    """
    image.load()
    orientation = orientation_of(image)
    upright = _as_upright(image, orientation)
    if not lossless:
        comment = {} if orientation is None else {"comment": f"{_TURN_KEY}: {orientation}"}
        is_jpeg = upright.mode in JPEG_MODES
        raw = _saved(upright, "JPEG", quality=_JPEG_QUALITY, **comment) if is_jpeg else None
        return "only grey and RGB images become JPEG" if raw is None else File(JPEG, raw)
    text = PngImagePlugin.PngInfo()
    if orientation is not None:
        text.add_text(_TURN_KEY, str(orientation))
    if upright.mode in _PNG_MODES:
        raw = _saved(upright, "PNG", compress_level=_PNG_LEVEL, pnginfo=text)
        if raw is not None and _is_whole(upright, raw):
            return File(PNG, raw)
    return f"PNG does not return an image of mode {image.mode} unchanged"


def read_file(content: bytes) -> tuple[Image.Image, bool]:
    """Read a PNG or JPEG file that `write_file` returned.

    Returns:
        The image in its original orientation, and whether it is lossless: True for PNG.

    Raises:
        ValueError: The file is neither PNG nor JPEG.
    """
    image = open_image(content)
    lossless = not content.startswith(_JPEG_START)
    text = str(image.info.pop(_TURN_KEY, ""))
    comment = image.info.get("comment", b"")
    if isinstance(comment, bytes) and comment.startswith(f"{_TURN_KEY}: ".encode()):
        text = image.info.pop("comment").decode().rpartition(" ")[2]
    if text not in _ORIENTATIONS:
        return image, lossless
    return _as_before(image, int(text)), lossless


def _as_upright(image: Image.Image, orientation: int | None) -> Image.Image:
    turns = _TURNS.get(orientation or 1)
    return image if turns is None else image.transpose(turns[0])


def _as_before(image: Image.Image, orientation: int | None) -> Image.Image:
    """Undo `_as_upright`, and restore the orientation in the EXIF data."""
    turns = _TURNS.get(orientation or 1)
    if turns is not None:
        image = image.transpose(turns[1])
    if orientation is not None:
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        image.info["exif"] = exif.tobytes()
    return image


def read(params: Params, decode: Decode) -> Image.Image:
    """Convert a stored image, as `write` returned it, back to a Pillow image.

    Raises:
        ValueError: The number of pixels does not fit the mode and size, or the format is unknown.
    """
    orientation = params.get("orientation")
    turns = _TURNS.get(orientation or 1)
    if "format" in params:
        image = open_image(from_base64(params["data"]))
    else:
        width, height = params["size"]
        if turns is not None and turns[0] in _SIDEWAYS:
            width, height = height, width
        image = _read_pixels(params, decode, width, height)
    return _as_before(image, orientation)


def orientation_of(image: Image.Image) -> int | None:
    """Return the EXIF orientation of an image, 1 to 8, or None.

    Spec: https://www.cipa.jp/std/documents/e/DC-008-2012_E.pdf, section 4.6.4, tag 274
    """
    value = None
    with untrusted:  # EXIF data may be invalid
        value = image.getexif().get(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= _LAST_ORIENTATION else None


def _read_pixels(params: Params, decode: Decode, width: int, height: int) -> Image.Image:
    raw = from_base64(params["data"])
    if width * height > 8 * len(raw):  # a pixel has at least one bit
        raise ValueError(f"Invalid image: {len(raw)} bytes for {width} x {height} pixels")
    image = Image.frombytes(params["mode"], (width, height), raw)
    if "palette" in params:
        image.putpalette(from_base64(params["palette"]), params["palette_mode"])
    if "transparency" in params:
        image.info["transparency"] = decode(params["transparency"])
    return image


def open_image(raw: bytes) -> Image.Image:
    """Open a PNG or JPEG. Other formats are rejected, because their many parsers are a risk.

    Raises:
        ValueError: The data is neither.
    """
    try:
        with Image.open(io.BytesIO(raw), formats=("PNG", "JPEG")) as image:
            return image.copy()
    except (OSError, SyntaxError) as error:
        raise ValueError("Invalid image: expected a PNG or JPEG") from error


def _saved(image: Image.Image, form: str, **options: Any) -> bytes | None:
    """Return the image as a file, or None if the format cannot store it, such as an empty image."""
    file = io.BytesIO()
    with untrusted:
        image.save(file, form, **options)
        return file.getvalue()
    return None


def _is_whole(image: Image.Image, raw: bytes) -> bool:
    """Tell whether a PNG equals its image. PNG may trim a palette and change transparency."""
    if image.mode != "P" and "transparency" not in image.info:
        return True
    again = open_image(raw)
    return _facts_of(again) == _facts_of(image) and again.tobytes() == image.tobytes()


def _facts_of(image: Image.Image) -> object:
    palette = image.getpalette(None) if image.mode == "P" else None
    form = image.palette.mode if palette is not None and image.palette else None
    return image.mode, image.size, form, palette, image.info.get("transparency")


def _pixels(image: Image.Image, writer: ValueWriter) -> Form:
    form: Form = {"data": to_base64(image.tobytes())}
    palette = image.getpalette(None)
    if palette is not None and image.palette is not None:
        form["palette"] = to_base64(bytes(palette))
        form["palette_mode"] = image.palette.mode
    if "transparency" in image.info:
        form["transparency"] = writer.encode(image.info["transparency"])
    return form
