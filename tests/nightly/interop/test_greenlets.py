"""otel-ml works in processes whose threads are greenlets: gevent and eventlet, all patched."""

from collections.abc import Iterator

import pytest

from tests.support.certificates import make_certificate
from tests.support.interop.environments import Answers, ask
from tests.support.interop.receiver import open_receiver

CALLS = 40


@pytest.fixture(scope="module", params=["gevent", "eventlet"])
def answers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Answers, dict[str, int]]]:
    """Run the program, and return its output and the number of runs at each receiver."""
    certificate = make_certificate(tmp_path_factory.mktemp("tls"))
    with open_receiver() as plain, open_receiver(certificate) as secure:
        found = ask(
            *("greenlets", "greenlets", request.param, plain.address, secure.address),
            OTEL_EXPORTER_OTLP_CERTIFICATE=str(certificate.cert),
            PYTHONWARNINGS="ignore",
        )
        yield (
            found,
            {
                way: sum(name.endswith("model") for name in receiver.names)
                for way, receiver in (("plain", plain), ("secure", secure))
            },
        )


@pytest.mark.parametrize("way", ["plain", "secure"])
def test_all_is_delivered(answers: tuple[Answers, dict[str, int]], way: str) -> None:
    """Runs and judge definitions are delivered from patched threads, over HTTP and TLS."""
    found, arrived = answers
    assert found[way] == {"delivered": CALLS + 1, "lost": {}, "trouble": {}}
    assert arrived[way] >= CALLS


def test_timeout_ends_a_call(answers: tuple[Answers, dict[str, int]]) -> None:
    """The library's timeout ends a call, even while a value of the call is captured."""
    assert answers[0]["limit"] == ["Timeout", "Timeout"]
