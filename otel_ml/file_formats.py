"""The file formats of logged data."""

from collections.abc import Mapping
from typing import Final

# The preview of a logged value has its media type under this key. If the value is stored as typed
# JSON, the preview says why under the other.
MEDIA_TYPE: Final = "media_type"
WHY_TYPED: Final = "why_typed"
PARQUET: Final = "application/vnd.apache.parquet"
NPY: Final = "application/x-npy"
PNG: Final = "image/png"
JPEG: Final = "image/jpeg"
SAFETENSORS: Final = "application/x-safetensors"
UTF8_TEXT: Final = "text/plain; charset=utf-8"
PLAIN_JSON: Final = "application/json"
PLAIN_BYTES: Final = "application/octet-stream"
# By media type: the format's name, and the suffix of a file.
FILE_FORMATS: Final[Mapping[str, tuple[str, str]]] = {
    PARQUET: ("Parquet", ".parquet"),
    NPY: ("NumPy's npy", ".npy"),
    PNG: ("PNG", ".png"),
    JPEG: ("JPEG", ".jpg"),
    SAFETENSORS: ("safetensors", ".safetensors"),
    UTF8_TEXT: ("text", ".txt"),
    PLAIN_JSON: ("JSON", ".json"),
    PLAIN_BYTES: ("bytes", ".bin"),
}
