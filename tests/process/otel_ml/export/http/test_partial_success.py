"""Cases of tests/unit/otel_ml/export/http/test_partial_success.py that start processes."""

import pytest

from otel_ml.export.answer import Answer
from tests.support.otel_ml.export.http.servers import DELIVERED, Receiver, partial, send_once


def test_partial_success(receiver: Receiver) -> None:
    """The number of rejected spans and the reason are read from an accepted response."""
    receiver.answer(200, partial(3, "no project"), content_type="application/x-protobuf")
    assert send_once(receiver.address) == Answer(delivered=True, rejected=3, message="no project")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json"},
        {"content-type": "text/html"},
        {"content-encoding": "gzip"},
    ],
)
def test_body_that_is_no_protobuf_is_ignored(receiver: Receiver, headers: dict[str, str]) -> None:
    """A response body with another type or encoding is not read."""
    receiver.answer(200, partial(3, "no project"), **headers)
    assert send_once(receiver.address) == DELIVERED


def test_text_of_a_receiver_is_cut_and_printable(receiver: Receiver) -> None:
    """A long text, or one with line breaks, becomes one short line."""
    receiver.answer(200, partial(1, "a\nb\x1b" + "c" * 10_000))
    assert send_once(receiver.address).message == "a b " + "c" * 496
