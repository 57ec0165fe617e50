"""Slow cases of tests/process/end_to_end/test_doctor.py."""

from collections.abc import Iterator

import pytest

from tests.process.end_to_end.test_doctor import OK_THERE, PROJECT, Keyed, both_taken, there
from tests.support.certificates import make_certificate
from tests.support.collector import running
from tests.support.keys import run_keys


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """Start a collector with TLS that requires keys."""
    folder = tmp_path_factory.mktemp("keyed")
    data, made = folder / "data", make_certificate(folder)
    given = [(PROJECT, "ingest,read"), (PROJECT, "ingest"), (f"{PROJECT},two", "ingest,read")]
    keys = [
        run_keys("add", "--data-dir", str(data), "--project", projects, "--scope", scopes)
        for projects, scopes in given
    ]
    with running(data, "--tls-cert", str(made.cert), "--tls-key", str(made.key)) as process:
        yield Keyed(process, made.cert, *(done.stdout.strip() for done in keys))


def test_right_key(keyed: Keyed) -> None:
    """With a key and the certificate, every check passes; without admin scope, test data stays."""
    found = keyed.ask(keyed.full)
    stays = "; it was not deleted (403: This key does not have the scope admin)"
    assert (found.status, there(found)) == (
        0,
        [
            ("ok", f"{keyed.process.endpoint} is an otel-ml collector", ""),
            *OK_THERE,
            ("ok", f"The key may read project {PROJECT}", ""),
            *both_taken(keyed.process.grpc, stays),
        ],
    )
