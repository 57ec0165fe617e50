"""Reads forms that pages post."""

from typing import Final
from urllib.parse import parse_qs

from fastapi import Request

from otel_ml_collector.errors import BadInput

_MOST_FORM_BYTES: Final = 64 * 1024
_MOST_FORM_FIELDS: Final = 40


async def read_form(request: Request) -> dict[str, list[str]]:
    """Read the fields of a form, each with all of its values.

    Raises:
        BadInput: The form is too long or invalid.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_FORM_BYTES:
            raise BadInput(
                f"The form is too long: expected at most {_MOST_FORM_BYTES} bytes", "form"
            )
    try:
        return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FORM_FIELDS)
    except ValueError as error:
        message = "Invalid form: expected application/x-www-form-urlencoded"
        raise BadInput(message, "form") from error


def take_last(fields: dict[str, list[str]]) -> dict[str, str]:
    """Return the last value of each field."""
    return {name: values[-1] for name, values in fields.items()}
