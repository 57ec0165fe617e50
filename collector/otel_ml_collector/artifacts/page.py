"""Logged artifacts on the page of a run: preview, image, and Python code to read them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fastapi import Request

from otel_ml.file_formats import FILE_FORMATS, MEDIA_TYPE, WHY_TYPED
from otel_ml_collector.access import find_user_of
from otel_ml_collector.artifacts.find import (
    IMAGE_TYPES,
    LARGEST_BYTES,
    LinkedArtifact,
    media_type_of,
    why_no_image,
)
from otel_ml_collector.errors import Missing
from otel_ml_collector.keyring import SESSION_COOKIE
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.web.view import Slice, cut_slice, read_state
from otel_ml_collector.wording import number, shorten

_SHOWN_ARTIFACTS: Final = 50
_FACTS: Final = 40
_SHOWN_CHARS: Final = 200
_SHOWN_OTHERWISE: Final = frozenset({"type", MEDIA_TYPE, WHY_TYPED})
_TIMES: Final = " \N{MULTIPLICATION SIGN} "
_CODE: Final = """\
import urllib.request

import otel_ml.types

with urllib.request.urlopen({address}) as answer:
    value = otel_ml.types.load(answer.read(), {kind}).data
"""
_CODE_WITH_KEY: Final = """\
import os
import urllib.request

import otel_ml.types

key = {{"x-api-key": os.environ["OTEL_ML_API_KEY"]}}
with urllib.request.urlopen(urllib.request.Request({address}, headers=key)) as answer:
    value = otel_ml.types.load(answer.read(), {kind}).data
"""


@dataclass(frozen=True, slots=True)
class ShownArtifact:
    """One artifact of a run.

    Attributes:
        artifact: The artifact.
        kind: Its type without the module.
        is_newest: Whether it is the newest artifact with its name.
        facts: Content of its preview, as pairs of name and text.
        image: Address of the image; None if it is not an image or is not shown.
        no_image: Why an image is not shown, as the end of a sentence.
        code: Python code that reads the value; None if the document is not stored.
    """

    artifact: LinkedArtifact
    kind: str
    is_newest: bool
    facts: Sequence[tuple[str, str]]
    image: str | None
    no_image: str
    code: str | None


def lay_out(
    request: Request, reader: Reader, project: str, artifacts: Sequence[LinkedArtifact]
) -> Slice[ShownArtifact]:
    """Return the artifacts that the page of a run shows, newest first: one page of the list."""
    server = str(request.base_url).rstrip("/")
    needs_key = SESSION_COOKIE in request.cookies or find_user_of(request.scope) is not None
    shown = lay_out_for(artifacts, server, needs_key=needs_key)
    part = cut_slice(shown, read_state(request).first("artifacts"), _SHOWN_ARTIFACTS)
    return replace(part, items=[_check_image(reader, project, item) for item in part.items])


def lay_out_for(
    artifacts: Sequence[LinkedArtifact], server: str, *, needs_key: bool = False
) -> list[ShownArtifact]:
    """Return artifacts prepared for display, newest first.

    Args:
        artifacts: Artifacts, newest first.
        server: Address of this server as the reader sees it, without a slash at the end.
        needs_key: Whether the server requires a key.
    """
    seen: set[str] = set()
    shown = []
    for artifact in artifacts:
        shown.append(
            ShownArtifact(
                artifact=artifact,
                kind=artifact.type.rpartition(".")[2] or "unknown",
                is_newest=artifact.ref not in seen,
                facts=_facts(artifact.preview),
                image=_image(artifact),
                no_image="",
                code=_code(artifact, server, _CODE_WITH_KEY if needs_key else _CODE),
            )
        )
        seen.add(artifact.ref)
    return shown


def _check_image(reader: Reader, project: str, shown: ShownArtifact) -> ShownArtifact:
    """Check the beginning of an image. An image that cannot be shown is replaced by the reason."""
    sha256 = shown.artifact.sha256
    if shown.image is None or sha256 is None:
        return shown
    try:
        why = why_no_image(reader, project, sha256)
    except Missing as error:  # deleted in the meantime
        why = str(error)
    return replace(shown, image=None, no_image=why) if why else shown


def _image(artifact: LinkedArtifact) -> str | None:
    is_image = artifact.type in IMAGE_TYPES and artifact.bytes <= LARGEST_BYTES
    return f"{artifact.url}/image" if artifact.url and is_image else None


def _code(artifact: LinkedArtifact, server: str, form: str) -> str | None:
    if artifact.url is None:
        return None
    address, kind = (json.dumps(text) for text in (server + artifact.url, artifact.type))
    return form.format(address=address, kind=kind)


def _facts(preview: Any) -> list[tuple[str, str]]:
    if preview is None:
        return []
    if not isinstance(preview, Mapping):
        return [("preview", _text(preview))]
    facts = [
        (
            str(name)[:_SHOWN_CHARS],
            _dimensions(value) if name in {"shape", "size"} else _text(value),
        )
        for name, value in list(preview.items())[:_FACTS]
        if name not in _SHOWN_OTHERWISE
    ]
    if MEDIA_TYPE in preview:
        facts.append(("stored as", _describe_format(preview)))
    return facts


def _describe_format(preview: Mapping[str, Any]) -> str:
    """Return the name of the file format, and why it is typed JSON if it is."""
    if WHY_TYPED in preview:
        return f"typed JSON, because {_text(preview[WHY_TYPED])}"
    return FILE_FORMATS[media_type_of(dict(preview))][0]


def _dimensions(value: Any) -> str:
    if not isinstance(value, list):
        return _text(value)
    return _TIMES.join(map(_text, value)) or "one value"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shorten(text, _SHOWN_CHARS)
