"""Models as entities: read back, continued by other processes, with aliases and lineage."""

import json
import math
import re
import socket
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml import Client
from otel_ml.compat.digitalhub import Project
from otel_ml.reader import BadQuery, NotFound, Reader
from tests.support.collector import CollectorProcess
from tests.support.keys import make_key
from tests.support.otel_ml.recording import Recording, events
from tests.support.otel_ml.scripts import ask_script, run_script
from tests.support.program import otel_ml
from tests.support.sampling import at_night, sampled

LOG: Final = """
import json, sys
from otel_ml import Client
client = Client("{project}", endpoint="{endpoint}")
model = client.model("churn"{named})
model.log_metrics({values})
assert client.flush()
print(json.dumps([model.version, model.metrics]))
"""


def log(
    folder: Path, collector: CollectorProcess, project: str, values: str, named: str
) -> list[Any]:
    """Log metrics of a model in another process; return its version and its metrics."""
    text = LOG.format(project=project, endpoint=collector.endpoint, values=values, named=named)
    found: list[Any] = ask_script(folder, text)
    return found


def test_model_is_read_back(collector: CollectorProcess, tmp_path: Path) -> None:
    """A model's name is enough to read what other processes recorded about it."""
    old, _ = log(tmp_path, collector, "read", '{"auc": 0.8}', ', {"depth": 3}')
    new, _ = log(tmp_path, collector, "read", '{"auc": 0.9, "loss": [3, 2]}', ', {"depth": 4}')
    model = Client("read", endpoint=collector.endpoint).model("churn")
    found = [
        (one.version, one.digest, one.definition["params"], one.metrics) for one in model.versions()
    ]
    assert found == [
        (2, new, {"depth": 4}, {"auc": 0.9, "loss": [3.0, 2.0]}),
        (1, old, {"depth": 3}, {"auc": 0.8}),
    ]
    assert (model.latest.version, model.latest.page) == (
        2,
        f"{collector.endpoint}/projects/read/models/churn?to=2",
    )
    assert (model.metrics, model.version) == ({"auc": 0.9, "loss": [3.0, 2.0]}, new)


@at_night
def test_reading_opens_no_version(collector: CollectorProcess, tmp_path: Path) -> None:
    """Reading a model does not create a version."""
    log(tmp_path, collector, "only", '{"auc": 0.8}', ', {"depth": 3}')
    client = Client("only", endpoint=collector.endpoint)
    model = client.model("churn")
    assert model.metrics == {"auc": 0.8}
    client.close()
    assert [one.version for one in model.versions()] == [1]


@at_night
@pytest.mark.parametrize("named", ["", ', {"rate": 0.1}'])
def test_another_process_continues(collector: CollectorProcess, tmp_path: Path, named: str) -> None:
    """A process that names a model, with or without its params, continues its version's metrics."""
    project = "continued" + ("-named" if named else "")
    made, first = log(tmp_path, collector, project, '{"loss": 3, "auc": 0.5}', ', {"rate": 0.1}')
    assert first == {"loss": 3.0, "auc": 0.5}
    continued, both = log(tmp_path, collector, project, '{"loss": 2}', named)
    assert (continued, both) == (made, {"loss": [3.0, 2.0], "auc": 0.5})
    model = Client(project, endpoint=collector.endpoint).model("churn")
    [version] = model.versions()
    assert (version.digest, model.metrics) == (made, both)
    assert version.definition["params"] == {"rate": 0.1}


@at_night
def test_first_words_of_a_model(collector: CollectorProcess, tmp_path: Path) -> None:
    """Logging a metric of an unknown model creates its first version."""
    version, metrics = log(tmp_path, collector, "first", '{"loss": 2}', "")
    again, both = log(tmp_path, collector, "first", '{"loss": 1}', "")
    assert (again, metrics, both) == (version, {"loss": 2.0}, {"loss": [2.0, 1.0]})


def test_versions_of_a_function_are_continued(collector: CollectorProcess) -> None:
    """A metric logged under a traced function's name belongs to its newest version."""
    client = Client("function", endpoint=collector.endpoint)

    @client.trace(name="churn")
    def churn(a: int) -> int:
        return a + 1

    churn(1)
    model = client.model("churn")
    model.log_metric("auc", 0.7)
    [version] = model.versions()
    assert (version.metrics, version.runs) == ({"auc": [0.7]}, 1)
    assert "return a + 1" in version.definition["source"]
    client.close()


def test_what_waits_is_read_too(collector: CollectorProcess) -> None:
    """Logged metrics are delivered before metrics are read, and `flush` counts them."""
    client = Client("waiting", endpoint=collector.endpoint)
    model = client.model("churn", {"a": 1})
    for step in range(3):
        model.log_metrics({"loss": step}, step=step)
    assert model.metrics == {"loss": [0.0, 1.0, 2.0]}
    assert client.flush().delivered == 4
    client.close()


@at_night
def test_long_series_and_odd_numbers(collector: CollectorProcess) -> None:
    """A series of thousands of points is read completely, with NaN and infinities unchanged."""
    client = Client("long", endpoint=collector.endpoint)
    client.model("churn", {"a": 1}).log_metrics(
        {"loss": [*range(5_000)], "odd": [math.inf, math.nan, -math.inf], "best": 1}
    )
    metrics = client.model("churn").metrics
    assert metrics["loss"] == [float(number) for number in range(5_000)]
    assert str(metrics["odd"]) == "[inf, nan, -inf]"
    assert metrics["best"] == 1.0
    client.close()


@at_night
def test_entities_of_digitalhub(collector: CollectorProcess, tmp_path: Path) -> None:
    """A DigitalHub model entity returns the collector's metrics, as in DigitalHub."""
    log(tmp_path, collector, "hub", '{"loss": 3}', ', {"rate": 0.1}')
    entity = Project("hub", collector.endpoint).get_model("churn")
    assert entity.metrics == {"loss": 3.0}
    entity.log_metrics({"loss": 2})
    assert entity.metrics == {"loss": [3.0, 2.0]}


def test_metrics_stand_beside_the_versions(collector: CollectorProcess, tmp_path: Path) -> None:
    """The versions table and the API show the last logged value of each metric and version."""
    log(tmp_path, collector, "table", '{"auc": 0.8125, "loss": [3, 2.5]}', ', {"depth": 3}')
    log(tmp_path, collector, "table", '{"auc": 0.9375, "odd": float("inf")}', ', {"depth": 4}')
    versions = collector.get("/projects/table/models/churn/versions")["versions"]
    assert [(one["version"], one["last_metrics"]) for one in versions] == [
        (2, {"auc": 0.9375, "odd": "Infinity"}),
        (1, {"auc": 0.8125, "loss": 2.5}),
    ]
    page = collector.get_text("/projects/table/models/churn")
    table = page[page.index('id="versions"') :].partition("</section>")[0]
    assert re.findall(r'title="Last logged value of (\w+)', table) == ["auc", "loss", "odd"]
    assert 'title="0.9375"' in table
    shown = [
        re.findall(r'version=\d" title="[^"]+">([^<]+)<|mute">(–)<', row)
        for row in table.split("<tr")[2:]
    ]
    assert [["".join(cell) for cell in row] for row in shown] == [
        ["0.938", "–", "∞"],
        ["0.812", "2.5", "–"],
    ]


def test_unknown_model(collector: CollectorProcess) -> None:
    """Reading a model that nobody recorded raises an error that names it."""
    model = Client("unknown", endpoint=collector.endpoint).model("nobody")
    for ask in (model.versions, lambda: model.latest, lambda: model.metrics):
        with pytest.raises(NotFound, match="'unknown' has no version of a model 'nobody'"):
            ask()


@at_night
def test_hanging_collector() -> None:
    """A collector that never responds delays the first call by 3 s, and no later call."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = Client("hangs", endpoint=f"http://127.0.0.1:{port}")
        client.model("other", {"a": 1}).log_metrics({"auc": 1})
        model = client.model("churn")
        began = time.monotonic()
        model.log_metrics({"auc": 1})
        first_s = time.monotonic() - began
        model.log_metrics({"auc": 2})
        assert first_s < 5
        assert time.monotonic() - began - first_s < 0.5


def test_client_without_a_collector(tmp_path: Path) -> None:
    """A client with a custom exporter cannot read versions, and the error says what to use."""
    run_script(
        tmp_path,
        """
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from otel_ml import Client
        model = Client("p", exporter=InMemorySpanExporter()).model("churn")
        model.log_metrics({"auc": 1})
        assert model.metrics == {"auc": 1.0}
        try:
            model.versions()
        except ConnectionError as error:
            assert "expected a client with an endpoint" in str(error)
        else:
            raise AssertionError
        """,
    )


ALIASES: Final = """
import sys
from otel_ml import Client
client = Client("{project}", endpoint="{endpoint}")
{moves}
assert client.flush()
"""


def move(folder: Path, collector: CollectorProcess, project: str, moves: str) -> None:
    """Move aliases in another process."""
    text = ALIASES.format(project=project, endpoint=collector.endpoint, moves=moves)
    run_script(folder, text)


def call_two_versions(client: Client) -> None:
    """Call two versions of a function."""
    for depth in (3, 4):
        client.trace(name="answer", params={"depth": depth})(lambda: 1)()
        assert client.flush()


def two_versions(collector: CollectorProcess, project: str) -> tuple[str, str]:
    """Log two versions of a model; return their digests."""
    with closing(Client(project, endpoint=collector.endpoint)) as client:
        digests = []
        for depth in (3, 4):
            digests.append(client.model("churn", {"depth": depth}).version)
            assert client.flush()
    return digests[0], digests[1]


def names(collector: CollectorProcess, project: str) -> dict[str, int]:
    found = collector.get(f"/projects/{project}/models/churn/aliases")["aliases"]
    return {one["alias"]: one["version"] for one in found}


def test_aliases_move_and_are_remembered(collector: CollectorProcess, tmp_path: Path) -> None:
    """An alias moves between versions, from any process, and each move is in the history."""
    two_versions(collector, "moved")
    move(
        tmp_path,
        collector,
        "moved",
        """client.model("churn", {"depth": 3}).set_alias("champion", by="ann")
client.set_alias("churn", "candidate")""",
    )
    assert names(collector, "moved") == {"champion": 1, "candidate": 2}
    move(
        tmp_path,
        collector,
        "moved",
        """client.set_alias("churn", "champion", 2, by="bob")
client.model("churn").remove_alias("candidate")""",
    )
    client = Client("moved", endpoint=collector.endpoint)
    assert client.model("churn").aliases == {"champion": 2}
    assert [list(one.aliases) for one in client.model("churn").versions()] == [["champion"], []]
    with Reader("moved", endpoint=collector.endpoint) as reader:
        found = reader.aliases("churn")
    told = [(one.alias, one.version, one.is_removed, one.by, one.source) for one in found.history]
    assert told == [
        ("candidate", 2, True, "", "sdk"),
        ("champion", 2, False, "bob", "sdk"),
        ("candidate", 2, False, "", "sdk"),
        ("champion", 1, False, "ann", "sdk"),
    ]
    [champion] = found.aliases
    assert (champion.by, champion.time, champion.digest) == (
        "bob",
        found.history[1].time,
        found.history[1].digest,
    )
    page = collector.get_text("/projects/moved/models/churn")
    assert "History of aliases, 4 changes" in page
    assert '<b class="v">champion</b>' in page


@at_night
def test_names_of_versions_are_read(collector: CollectorProcess) -> None:
    """The reader, filters and commands find a version by number or alias."""
    two_versions(collector, "found")
    client = Client("found", endpoint=collector.endpoint)
    call_two_versions(client)
    client.set_alias("churn", "champion", 1)
    client.set_alias("answer", "champion", 2)
    assert client.flush()
    client.close()
    with Reader("found", endpoint=collector.endpoint) as reader:
        asked = [reader.version(name).version for name in ("churn:v2", "churn@champion")]
        assert asked == [2, 1]
        with pytest.raises(NotFound, match="No version of 'churn' is called 'nobody'"):
            reader.version("churn@nobody")
        with pytest.raises(ValueError, match="expected a version such as"):
            reader.version("churn")

        def where(condition: str) -> list[int | None]:
            return [run.version for run in reader.runs(f'model == "answer" and {condition}')]

        assert where('version == "champion"') == [2]
        assert where('version != "champion"') == [1]
        assert where('version in ["champion", "other"]') == [2]
        assert where('version == "nobody"') == []
        with pytest.raises(BadQuery, match="an alias has no order"):
            where('version > "champion"')
    listed = run_program(
        *("models", "churn@champion", "--project", "found", "--format", "json"),
        *("--endpoint", collector.endpoint),
    )
    assert [one["version"] for one in json.loads(listed)["versions"]] == [1]


@at_night
def test_alias_with_dots(collector: CollectorProcess) -> None:
    """An alias such as 2.0 works wherever a version can be given."""
    two_versions(collector, "dotted")
    client = Client("dotted", endpoint=collector.endpoint)
    call_two_versions(client)
    client.set_alias("churn", "1.0", 1)
    client.set_alias("churn", "2.0", 2)
    client.set_alias("answer", "2.0", 2)
    assert client.flush()
    client.close()
    with Reader("dotted", endpoint=collector.endpoint) as reader:
        assert reader.version("churn@2.0").version == 2
        runs = reader.runs('model == "answer" and version == "2.0"')
        assert [run.version for run in runs] == [2]
        of = ["churn@1.0", "churn@2.0"]
        assert [side["name"] for side in reader.compare(of)["sides"]] == ["churn:v1", "churn:v2"]
    where = ("--project", "dotted", "--endpoint", collector.endpoint)
    listed = run_program("models", "churn@2.0", *where, "--format", "json")
    assert [one["version"] for one in json.loads(listed)["versions"]] == [2]
    run_program("alias", "churn", "3.1.4", "v2", *where)
    assert names(collector, "dotted") == {"1.0": 1, "2.0": 2, "3.1.4": 2}
    page = collector.get_text("/projects/dotted/compare?of=churn@1.0&of=churn@2.0")
    assert "churn:v2" in page


def post(
    collector: CollectorProcess, body: dict[str, object], key: str = "", project: str = "order"
) -> tuple[int, Any, Any]:
    headers = {"content-type": "application/json"} | ({"x-api-key": key} if key else {})
    path = f"/api/v1/projects/{project}/models/churn/aliases"
    return collector.post(path, json.dumps(body).encode(), headers)


@at_night
def test_key_is_remembered(closed: CollectorProcess, admin: str) -> None:
    """Moving an alias needs a key that may write, and the history shows the key's name."""
    keys = {
        name: make_key(closed, admin, "keyed", scopes=scopes, name=name)
        for name, scopes in (("reads", "read"), ("releases", "read,annotate"))
    }
    loads = make_key(closed, admin, "keyed", scopes="ingest", name="loads")
    with closing(Client("keyed", loads, closed.endpoint)) as client:
        client.model("churn", {"depth": 3}).set_alias("first")
        assert client.flush()
    body: dict[str, object] = {"alias": "candidate", "version": 1}
    assert post(closed, body, keys["reads"], "keyed")[0] == 403
    assert post(closed, body, "", "keyed")[0] == 401
    status, _, text = post(closed, body, keys["releases"], "keyed")
    assert status == 200
    told = json.loads(text)
    assert [(one["alias"], one["by"], one["source"]) for one in told["history"]] == [
        ("candidate", "releases", "api"),
        ("first", "loads", "sdk"),
    ]


@sampled(1)
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"alias": "v3", "version": 1}, 400, "Invalid alias 'v3'"),
        ({"alias": "3", "version": 1}, 400, "Invalid alias '3'"),
        ({"alias": "-2.0", "version": 1}, 400, "Invalid alias '-2.0'"),
        ({"alias": "a@b", "version": 1}, 400, "Invalid alias 'a@b'"),
        ({"alias": "champion", "version": 9}, 404, "has no version 9"),
        ({"alias": "nobody", "version": None}, 404, "No version of 'churn' is called 'nobody'"),
    ],
)
def test_wrong_moves(
    collector: CollectorProcess, body: dict[str, object], status: int, said: str
) -> None:
    """Invalid aliases, unknown versions and the removal of an unknown alias are refused."""
    two_versions(collector, "wrong")
    answer = post(collector, body, project="wrong")
    assert (answer[0], said in json.loads(answer[2])["error"]["message"]) == (status, True)


@at_night
def test_alias_command(collector: CollectorProcess) -> None:
    """The command moves an alias, lists who moved it and when, and removes it."""
    two_versions(collector, "typed")
    where = ("--project", "typed", "--endpoint", collector.endpoint, "--format", "json")
    run_program("alias", "churn", "champion", "v2", "--by", "ann", *where)
    told = json.loads(run_program("alias", "churn", *where))
    assert [
        (one["alias"], one["version"], one["by"], one["source"]) for one in told["history"]
    ] == [("champion", 2, "ann", "cli")]
    run_program("alias", "churn", "champion", "--remove", *where)
    assert names(collector, "typed") == {}
    assert "Invalid version 'x'" in run_program("alias", "churn", "champion", "x", *where, status=2)


def run_program(*arguments: str, status: int = 0) -> str:
    """Run ``otel-ml``; return its output, or its errors if it failed."""
    done = otel_ml(*arguments)
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


TRAIN: Final = """
import json
from otel_ml import Client
client = Client("{project}", endpoint="{endpoint}")
with client.run("fit", params={{"rate": 0.1}}) as run:
    run.log("table", [[1, 2], [3, 4]])
    run.uses("orders:v7", kind="dataset")
    model = client.model("churn", {{"depth": 3}})
    model.set_alias("champion")
    run.produced(model)
assert client.flush()
print(json.dumps([run.id, model.version]))
"""
SCORE: Final = """
import json, sys
from otel_ml import Client, current_run
from otel_ml.reader import Reader
client = Client("{project}", endpoint="{endpoint}")
[table] = Reader("{project}", endpoint="{endpoint}").artifacts(run_id="{run}")

@client.trace(name="score")
def score(rate):
    run = current_run()
    run.uses("churn@champion", "churn:v1")
    run.uses(client.model("churn").latest, table)
    run.uses("churn")
    return run.id

found = score(0.5)
assert client.flush()
print(json.dumps(found))
"""


def train_and_score(collector: CollectorProcess, folder: Path, project: str) -> list[str]:
    """Train a model in one process and use it in another; return both runs and the digest."""
    place = {"project": project, "endpoint": collector.endpoint}
    made, digest = ask_script(folder, TRAIN.format(**place))
    used = ask_script(folder, SCORE.format(**place, run=made))
    return [made, used, digest]


def test_lineage_is_shown_both_ways(collector: CollectorProcess, tmp_path: Path) -> None:
    """The API, the reader and the pages of run and model show lineage in both directions."""
    made, used, digest = train_and_score(collector, tmp_path, "both-ways")
    with Reader("both-ways", endpoint=collector.endpoint) as reader:
        fit, score, version = reader.run(made), reader.run(used), reader.version("churn", 1)
    assert [(one.kind, one.name, one.version, one.told) for one in fit.uses] == [
        ("dataset", "orders", None, "v7")
    ]
    assert [(one.kind, one.name, one.version, one.told) for one in fit.produced] == [
        ("model", "churn", 1, digest)
    ]
    assert [(one.run_id, one.name) for one in fit.used_by] == [(used, "table")]
    assert {(one.kind, one.name, one.version, one.told[:1]) for one in score.uses} == {
        ("model", "churn", 1, "@"),
        ("model", "churn", 1, "v"),
        ("model", "churn", 1, digest[:1]),
        ("model", "churn", None, ""),
        ("artifact", "table", None, next(one.told[:1] for one in score.uses if one.run_id)),
    }
    assert {one.run_id for one in score.uses} == {None, made}
    assert [one["run_id"] for one in version.produced_by] == [made]
    assert {one["run_id"] for one in version.used_by} == {used}
    of_run = collector.get_text(f"/projects/both-ways/runs/{used}")
    section = of_run[of_run.index('id="lineage"') :].partition("</section>")[0]
    assert f'href="/projects/both-ways/runs/{made}" title="The run that logged it">table' in section
    assert 'href="/projects/both-ways/models/churn?to=1">churn' in section
    of_model = collector.get_text("/projects/both-ways/models/churn")
    section = of_model[of_model.index('id="lineage"') :].partition("</section>")[0]
    assert f'href="/projects/both-ways/runs/{made}"' in section.partition("Used by")[0]
    assert f'href="/projects/both-ways/runs/{used}"' in section.partition("Used by")[2]


@at_night
def test_alias_of_the_time_of_use(collector: CollectorProcess) -> None:
    """A run that used an alias is linked to the version that the alias had at that time."""
    two_versions(collector, "then")
    with closing(Client("then", endpoint=collector.endpoint)) as client:
        client.set_alias("churn", "champion", 1)
        with client.run("before") as before:
            before.uses("churn@champion")
        client.set_alias("churn", "champion", 2)
        with client.run("after") as after:
            after.uses("churn@champion")
        assert client.flush()
    with Reader("then", endpoint=collector.endpoint) as reader:
        found = [one.version for run in (before, after) for one in reader.run(run.id).uses]
    assert found == [1, 2]


@sampled(1)
@pytest.mark.parametrize("wrong", [None, 3, "", object(), ["churn"]])
def test_wrong_things_are_refused(wrong: Any) -> None:
    """Arguments that are not models, artifacts or names are refused, and nothing is recorded."""
    recording = Recording()
    with recording.client.run("fit") as run:
        with pytest.raises(ValueError, match="Invalid things"):
            run.uses("churn", wrong)
        with pytest.raises(ValueError, match="Invalid kind"):
            run.produced("churn", kind="table")
    assert all(not events(span) for span in recording.spans())
    recording.client.close()
