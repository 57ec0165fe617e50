"""Commands use the addressed collector if it responds, and otherwise the data directory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.collector import CollectorProcess
from tests.support.keys import UNAUTHENTICATED, ask, call_now, send_http
from tests.support.otel_ml_collector.wire import encode
from tests.support.program import otel_ml
from tests.support.sampling import at_night, sampled

NOWHERE = "127.0.0.1:9"
DONE, USAGE, UNREACHABLE, REFUSED, NOT_FOUND = 0, 2, 3, 4, 5


def add_key(*where: str) -> tuple[str, ...]:
    return ("keys", "add", "--project", "*", "--scope", "admin,ingest,read", *where)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to an empty folder that no collector has used."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def ways_to(
    collector: CollectorProcess, folder: Path
) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return ways to address a collector: by flags, the environment or a file."""
    netloc = urlsplit(collector.endpoint).netloc
    (folder / "other.toml").write_text(f'http = "{netloc}"\n')
    return {
        "http": (["--http", netloc], {}),
        "endpoint": (["--endpoint", collector.endpoint], {}),
        "config": (["--config", "other.toml"], {}),
        "OTEL_ML_HTTP": ([], {"OTEL_ML_HTTP": netloc}),
        "OTEL_ML_ENDPOINT": ([], {"OTEL_ML_ENDPOINT": collector.endpoint}),
        "data_dir and http": (["--data-dir", str(folder / "new"), "--http", netloc], {}),
    }


@sampled(1)
@pytest.mark.parametrize(
    "way",
    ["http", "endpoint", "config", "OTEL_ML_HTTP", "OTEL_ML_ENDPOINT", "data_dir and http"],
)
def test_first_key_closes_the_collector_that_is_meant(
    own_collector: CollectorProcess, elsewhere: Path, way: str
) -> None:
    """A key created in any folder belongs to the running collector, which then requires keys."""
    flags, variables = ways_to(own_collector, elsewhere)[way]
    before = sorted(elsewhere.iterdir())
    made = otel_ml(*add_key(*flags), **variables)
    assert made.returncode == DONE, made.stderr
    [key] = made.stdout.splitlines()
    assert f"in the collector at {own_collector.endpoint}" in made.stderr
    assert f"checked: {own_collector.endpoint} refuses requests without a key" in made.stderr
    assert send_http(own_collector, "", encode([call_now("stranger")]))[0] == UNAUTHENTICATED
    assert send_http(own_collector, key, encode([call_now("mine")]))[0] == 0
    assert sorted(elsewhere.iterdir()) == before
    refused = otel_ml(*add_key(*flags), **variables)
    assert (refused.returncode, refused.stdout) == (REFUSED, "")
    again = otel_ml(*add_key(*flags), **variables, OTEL_ML_API_KEY=key)
    assert (again.returncode, len(again.stdout.splitlines())) == (DONE, 1)
    assert f"checked: {own_collector.endpoint} refuses requests without a key" in again.stderr


@sampled(1)
@pytest.mark.parametrize(
    "arguments",
    [
        add_key(),
        ("keys", "list"),
        ("keys", "revoke", "0123456789abcdef"),
        ("projects",),
        ("runs", "--project", "p"),
        ("models", "--project", "p"),
        ("metrics", "--project", "p"),
        ("export", "--project", "p"),
        ("open", "0123456789abcdef", "--project", "p"),
        ("retention", "p"),
        ("storage",),
        ("backup", "copy"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
@pytest.mark.parametrize("stranger", [False, True], ids=["nobody", "stranger"])
def test_no_command_makes_a_store(
    elsewhere: Path, arguments: tuple[str, ...], stranger: bool
) -> None:
    """Without a collector and a data directory, a command creates neither and reports both."""
    with somebody_else() as address:
        http = address if stranger else NOWHERE
        done = otel_ml(*arguments, "--http", http)
    assert (done.returncode, done.stdout) == (UNREACHABLE, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"otel-ml: No collector answers at http://{http}, and there is no ")
    assert "otel-ml-data" in line
    assert list(elsewhere.iterdir()) == []


@contextmanager
def somebody_else() -> Iterator[str]:
    """Run a web server that is not a collector; yield its address."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@at_night
def test_data_directory_leads_to_its_collector(
    own_collector: CollectorProcess, tmp_path: Path, elsewhere: Path
) -> None:
    """A data directory in use is changed through its collector, whatever its port is."""
    data_dir = str(tmp_path / "data")
    made = otel_ml(*add_key("--data-dir", data_dir))
    assert made.returncode == DONE, made.stderr
    assert f"checked: {own_collector.endpoint} refuses requests without a key" in made.stderr
    assert send_http(own_collector, "", encode([call_now("stranger")]))[0] == UNAUTHENTICATED
    for variables, status in (({}, REFUSED), ({"OTEL_ML_API_KEY": made.stdout.strip()}, DONE)):
        done = otel_ml("keys", "list", "--data-dir", data_dir, **variables)
        assert done.returncode == status


@at_night
def test_another_store_is_told(
    own_collector: CollectorProcess, tmp_path: Path, elsewhere: Path
) -> None:
    """Creating a key in an unused directory reports that the collector uses another store."""
    made = otel_ml(
        *add_key("--data-dir", str(elsewhere / "new")),
        OTEL_ML_HTTP=urlsplit(own_collector.endpoint).netloc,
    )
    assert made.returncode == DONE
    assert f"the collector at {own_collector.endpoint} uses a different store" in made.stderr
    assert send_http(own_collector, "", encode([call_now("anybody")]))[0] == 0


@at_night
def test_first_page_has_a_head(collector: CollectorProcess) -> None:
    """A HEAD request for the start page gets a GET's response without a body."""
    answer = ask(collector, "/", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")


@at_night
@pytest.mark.parametrize(
    "arguments",
    [
        ("runs",),
        ("runs", "--where", 'model == "a"', "--format", "csv"),
        ("runs", "--json"),
        ("models",),
        ("metrics",),
        ("export",),
        ("export", "runs.csv"),
        ("export", "runs.parquet"),
    ],
    ids=" ".join,
)
def test_unknown_project_names_the_known(
    own_collector: CollectorProcess, elsewhere: Path, arguments: tuple[str, ...]
) -> None:
    """An unknown project is status 5 with the known projects, and no file is written."""
    assert send_http(own_collector, "", encode([call_now("mine")]), "shop")[0] == 0
    at = ("--project", "shpo", "--endpoint", own_collector.endpoint)
    done = otel_ml(*arguments, *at)
    assert (done.returncode, done.stderr) == (
        NOT_FOUND,
        "otel-ml: There is no project 'shpo': expected one of shop\n",
    )
    assert (done.stdout, list(elsewhere.iterdir())) == ("", [])
    nothing = otel_ml("runs", "--where", "model == 'no'", "--project", "shop", *at[2:])
    assert (nothing.returncode, nothing.stderr) == (1, "")
