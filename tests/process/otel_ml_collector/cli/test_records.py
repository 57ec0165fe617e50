"""Commands that list records: their output in each format, and their exit status."""

import csv
import io
import json
import os
import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otel_ml import Client, Judge
from otel_ml.reader import Reader
from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF, make_request
from tests.support.otel_ml_collector.cli.program import PROGRAM, environment, otel_ml
from tests.support.sampling import at_night, sampled

PROJECT = "shop/records"
NOTHING, USAGE, UNREACHABLE, NOT_FOUND, BROKEN_PIPE = 1, 2, 3, 5, 141


def brief(outputs: str) -> int:
    return len(outputs)


@pytest.fixture(scope="module")
def endpoint(collector: CollectorProcess) -> str:
    """A collector with three models, a score, metrics, and a project of 1,200 runs."""
    client = Client(PROJECT, endpoint=collector.endpoint)

    @client.trace(name="answer", tags={"client": "acme"})
    def answer(question: str) -> str:
        return question.upper()

    @client.assess(Judge("brief", "", brief), name="judged", inline=True)
    def judged(question: str) -> str:
        return question

    for question in ("a", "b", "=1+1"):
        answer(question)
    judged("four")
    with client.run("fit", params={"rate": 0.1}) as run:
        for step in range(3):
            run.log_metrics({"loss": 1 / (step + 1)}, step=step)
    assert client.flush()
    client.close()
    body = make_request("many records", 1_200).SerializeToString()
    collector.deliver(body, PROTOBUF)
    return collector.endpoint


def rows(text: bytes) -> list[list[str]]:
    """Split a table that was printed into a pipe."""
    return [line.split() for line in text.decode().splitlines()]


def test_table(endpoint: str) -> None:
    """In a pipe, a table is plain text with complete cells, newest run first."""
    done = otel_ml(
        endpoint, "runs", "--project", PROJECT, "--columns", "model,outcome,scores,tags,inputs"
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert rows(done.stdout) == [
        ["model", "outcome", "scores", "tags", "inputs"],
        ["fit", "ok", "-", "-", "-"],
        ["judged", "ok", "brief=4", "-", "four"],
        ["answer", "ok", "-", "client=acme", "=1+1"],
        ["answer", "ok", "-", "client=acme", "b"],
        ["answer", "ok", "-", "client=acme", "a"],
    ]


@at_night
def test_sums(collector: CollectorProcess, endpoint: str) -> None:
    """Sums are one line, or one per group; JSON is the response of the API."""
    asked = ("runs", "--project", PROJECT, "--where", 'kind == "model"')
    done = otel_ml(endpoint, *asked, "--sums", "--columns", "runs,errors")
    assert rows(done.stdout) == [["runs", "errors"], ["4", "0"]]
    done = otel_ml(endpoint, *asked, "--by", "model", "--columns", "model,runs")
    assert rows(done.stdout) == [["model", "runs"], ["answer", "3"], ["judged", "1"]]
    done = otel_ml(endpoint, *asked, "--by", "model", "--json")
    told = collector.get("/projects/shop%2Frecords/sums", where='kind == "model"', group="model")
    assert json.loads(done.stdout) == told
    done = otel_ml(endpoint, *asked, "--by", "model", "--limit", "1", "--columns", "model,runs")
    assert rows(done.stdout) == [["model", "runs"], ["answer", "3"], ["1", "other", "1"]]
    refused = otel_ml(endpoint, *asked, "--by", "model", "--limit", "51")
    assert b"Invalid --limit 51: expected 1 to 50\n" in refused.stderr
    refused = otel_ml(endpoint, *asked, "--by", "nothing")
    assert refused.returncode == USAGE
    assert b"Invalid group" in refused.stderr


@at_night
def test_previews_are_columns_in_each_format(endpoint: str) -> None:
    """The columns inputs_preview and outputs_preview of an export work in a list, too."""
    asked = ("--project", PROJECT, "--limit", "1", "--where", 'model == "judged"')
    columns = ("--columns", "inputs_preview,outputs_preview")
    done = otel_ml(endpoint, "runs", *asked, *columns)
    assert rows(done.stdout) == [["inputs_preview", "outputs_preview"], ["four", "four"]]
    done = otel_ml(endpoint, "runs", *asked, *columns, "--json")
    wanted = {"inputs_preview": "four", "outputs_preview": "four"}
    assert json.loads(done.stdout)["runs"] == [wanted]


@at_night
def test_silent_roots(endpoint: str) -> None:
    """A root without own texts and scores shows the texts and the worst score of its children."""
    client = Client("silent", endpoint=endpoint)

    @client.assess(Judge("brief", "", brief), name="judged", inline=True)
    def judged(question: str) -> str:
        return question

    with client.run("turn"):
        judged("where")
        judged("far")
    assert client.flush()
    client.close()
    columns = "model,scores,inputs,outputs,inputs_preview"
    done = otel_ml(endpoint, "runs", "--project", "silent", "--roots", "--columns", columns)
    assert rows(done.stdout)[1:] == [["turn", "brief=3", "where", "far", "where"]]


def test_filter_order_and_limit(endpoint: str) -> None:
    """A filter, an order and a limit select the runs."""
    asked = ("--where", 'model == "answer"', "--order", "oldest", "--limit", "2")
    done = otel_ml(endpoint, "runs", "--project", PROJECT, *asked, "--columns", "model,inputs")
    assert rows(done.stdout)[1:] == [["answer", "a"], ["answer", "b"]]


@at_night
def test_last_selects_a_period(endpoint: str) -> None:
    """Each command with a filter takes --last, a length until now or a day, instead of --start."""
    for command in ("runs", "sessions", "models", "slices", "metrics"):
        done = otel_ml(endpoint, command, "--project", PROJECT, "--last", "1h", "--json")
        assert (done.returncode in (0, NOTHING), done.stderr) == (True, b""), command
    asked = ("runs", "--project", PROJECT, "--columns", "model")
    assert len(rows(otel_ml(endpoint, *asked, "--last", "2d").stdout)) == 1 + 5
    assert otel_ml(endpoint, *asked, "--last", "yesterday").returncode == NOTHING
    for more, message in (
        (("--last", "soon"), b"Invalid last 'soon': expected a number of s, m, h, d or w"),
        (("--last", "1h", "--end", "2026-11-20"), b"--last cannot be used with --start or --end"),
        (("--last", "today", "--tz", "Mars"), b"Invalid time zone 'Mars'"),
    ):
        refused = otel_ml(endpoint, *asked, *more)
        assert (refused.returncode, message in refused.stderr) == (USAGE, True)


def test_json_is_the_answer_of_the_api(collector: CollectorProcess, endpoint: str) -> None:
    """JSON is the response of the API, even over several of its pages."""
    few = otel_ml(endpoint, "runs", "--project", PROJECT, "--limit", "2", "--format", "json")
    assert json.loads(few.stdout) == collector.get("/projects/shop%2Frecords/runs", limit=2)
    many = otel_ml(
        endpoint, "runs", "--project", "many records", "--limit", "1100", "--format", "json"
    )
    expected = [run["run_id"] for run in collector.runs("many records")[:1_100]]
    assert [run["run_id"] for run in json.loads(many.stdout)["runs"]] == expected
    models = otel_ml(endpoint, "models", "--project", PROJECT, "--format", "json")
    assert json.loads(models.stdout) == collector.get("/projects/shop%2Frecords/models")


@at_night
def test_csv_is_read_again(endpoint: str) -> None:
    """CSV has plain cells, JSON for nested values, and no formulas for spreadsheets."""
    names = "model,inputs_preview,tags,scores"
    asked = ("--limit", "3", "--format", "csv", "--columns", names)
    done = otel_ml(endpoint, "runs", "--project", PROJECT, *asked)
    assert list(csv.reader(io.StringIO(done.stdout.decode()))) == [
        names.split(","),
        ["fit", "", "{}", "{}"],
        ["judged", "four", "{}", '{"brief": 4.0}'],
        ["answer", "'=1+1", '{"client": "acme"}', "{}"],
    ]


def test_parquet_is_read_again(collector: CollectorProcess, endpoint: str) -> None:
    """Parquet has typed columns and the runs of the list."""
    asked = ("--limit", "4", "--format", "parquet")
    table = pq.read_table(
        io.BytesIO(otel_ml(endpoint, "runs", "--project", PROJECT, *asked).stdout)
    )
    listed = collector.runs(PROJECT)[:4]
    assert table["run_id"].to_pylist() == [run["run_id"] for run in listed]
    assert table["start_ns"].to_pylist() == [run["start_ns"] for run in listed]
    assert table.schema.field("start_time").type == pa.timestamp("ns", "UTC")


def test_models_and_versions(endpoint: str) -> None:
    """Models are listed, and the versions of a model with their scores by judge."""
    models = otel_ml(endpoint, "models", "--project", PROJECT, "--columns", "model,runs,versions")
    assert sorted(rows(models.stdout)) == [
        ["answer", "3", "1"],
        ["fit", "1", "0"],
        ["judged", "1", "1"],
        ["model", "runs", "versions"],
    ]
    asked = ("--model", "judged", "--columns", "version,runs,judges")
    versions = otel_ml(endpoint, "models", "--project", PROJECT, *asked)
    assert rows(versions.stdout) == [["version", "runs", "judges"], ["1", "1", "brief:v1=4"]]


@at_night
def test_models_and_metrics_of_runs_that_match(endpoint: str) -> None:
    """A filter counts only matching runs of models, and lists metrics only of matching runs."""
    asked = ("--where", 'tags["client"] == "acme"', "--columns", "model,runs,errors")
    for start in ((), ("--start", f"{datetime.now(UTC) - timedelta(days=150):%Y-%m-%d}")):
        models = otel_ml(endpoint, "models", "--project", PROJECT, *asked, *start)
        assert rows(models.stdout) == [["model", "runs", "errors"], ["answer", "3", "0"]]
    for kind, found in (("training", [["model"], ["fit"]]), ("model", [["model"]])):
        where = ("--where", f'kind == "{kind}"', "--columns", "model")
        done = otel_ml(endpoint, "metrics", "--project", PROJECT, *where)
        assert (rows(done.stdout), done.returncode) == (found, 2 - len(found))


@at_night
def test_metrics(endpoint: str) -> None:
    """The runs that logged metrics are listed, and the points of one metric."""
    listed = otel_ml(endpoint, "metrics", "--project", PROJECT, "--format", "json")
    [run] = json.loads(listed.stdout)["runs"]
    assert (run["model"], run["names"], run["points"]) == ("fit", ["loss"], 3)
    asked = ("--run", run["run_id"], "--name", "loss", "--columns", "step,value")
    points = otel_ml(endpoint, "metrics", "--project", PROJECT, *asked)
    assert rows(points.stdout) == [["step", "value"], ["0", "1"], ["1", "0.5"], ["2", "0.333333"]]


@at_night
def test_storage(endpoint: str) -> None:
    """`storage` lists bytes by project and what a number of days would free, and runs a purge."""
    told = json.loads(otel_ml(endpoint, "storage", "--free-days", "0", "--format", "json").stdout)
    shares = {one["project"]: one for one in told["projects"]}
    assert told["days"] == 0
    assert shares["many records"]["bytes"] > 0
    assert shares["many records"]["freed_records"] > 0
    head, *lines = rows(otel_ml(endpoint, "storage").stdout)
    assert (head[:2], len(lines)) == (["project", "bytes"], len(shares))
    purged = otel_ml(endpoint, "storage", "--purge", "--no-wait", "--format", "json")
    assert purged.returncode == 0
    done = json.loads(purged.stdout)
    assert {"tables", "bytes_before", "bytes_after"} <= set(done)
    assert (done["freed_time"] is None) is (done["replaced_bytes"] > 0)
    rebuilt = otel_ml(endpoint, "storage", "--rebuild", "1999-12-31", "--format", "json")
    assert json.loads(rebuilt.stdout) == {"day": "1999-12-31", "traces": 0, "runs": 0}
    assert otel_ml(endpoint, "storage", "--rebuild", "yesterday").returncode == USAGE


@sampled(1)
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("runs", "--where", 'model == "none"'), NOTHING, ""),
        (
            ("models", "--model", "none"),
            NOT_FOUND,
            "Project 'shop/records' has no version of a model",
        ),
        (
            ("release", "anwser"),
            NOT_FOUND,
            "Project 'shop/records' has no version of a model 'anwser'",
        ),
        (("metrics", "--run", f"{'f' * 32}-{'f' * 16}"), NOT_FOUND, "There is no run"),
        (("runs", "--start", "yesterday"), USAGE, "Invalid time 'yesterday'"),
        (("runs", "--columns", "colour"), USAGE, "Unknown column 'colour': expected one of "),
        (("runs", "--limit", "0"), USAGE, "Invalid --limit 0: expected 1 to 10000"),
        (("runs", "--project", ""), USAGE, "No project given: use --project P"),
        (("runs", "--endpoint", "nowhere"), USAGE, "Invalid endpoint 'nowhere'"),
        (("runs", "--api-key-file", "none"), USAGE, "The file of --api-key-file cannot be read"),
        (
            ("runs", "--endpoint", "http://127.0.0.1:9"),
            UNREACHABLE,
            "No answer from http://127.0.0.1:9: connection refused",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_statuses(endpoint: str, arguments: tuple[str, ...], status: int, message: str) -> None:
    """The exit status depends on the kind of error, and the error is one line."""
    where = () if "--project" in arguments else ("--project", PROJECT)
    done = otel_ml(endpoint, *arguments, *where)
    said = done.stderr.decode()
    assert (done.returncode, said.startswith(f"otel-ml: {message}" if message else "")) == (
        status,
        True,
    )
    assert len(said.splitlines()) == (1 if message else 0)


@at_night
def test_retention_of_an_unknown_project(endpoint: str) -> None:
    """A retention for a misspelt project is refused and not stored."""
    done = otel_ml(endpoint, "retention", "shp", "--records", "30")
    assert done.returncode == NOT_FOUND
    assert done.stderr.decode().startswith("otel-ml: There is no project 'shp': expected one of ")
    stored = json.loads(otel_ml(endpoint, "storage", "--format", "json").stdout)
    assert "shp" not in [item["project"] for item in stored["projects"]]


@at_night
def test_place_in_a_filter(endpoint: str) -> None:
    """An error in a filter is marked by a caret below the relevant part of the filter."""
    where = 'tags["日本"] == "x\x1b[2J" and ' + "model == 'a' and " * 20 + "colour > 3"
    done = otel_ml(endpoint, "runs", "--project", PROJECT, "--where", where)
    assert done.returncode == USAGE
    said, shown, caret = done.stderr.decode().splitlines()
    assert said.startswith("otel-ml: ")
    assert (shown[caret.index("^") :], shown[2]) == ("colour > 3", "…")
    early = otel_ml(
        endpoint, "runs", "--project", PROJECT, "--where", 'tags["日本\x1b"] == "a" and x == 1'
    )
    assert early.stderr.decode().splitlines()[1:] == [
        '  tags["日本\\x1b"] == "a" and x == 1',
        " " * 30 + "^",
    ]


@at_night
def test_reader_that_has_enough(endpoint: str) -> None:
    """If the reader of its pipe goes away, a command exits silently like other programs."""
    command = [*PROGRAM, "runs", "--project", "many records", "--limit", "1200"]
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        command, env=environment(endpoint), stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    os.close(ours)
    _, said = process.communicate(timeout=180)
    assert (process.returncode, said) == (BROKEN_PIPE, b"")


@at_night
def test_endpoint_of_the_settings(endpoint: str, tmp_path: Any) -> None:
    """A flag overrides the environment, and the environment overrides a settings file."""
    file = tmp_path / "otel-ml.toml"
    file.write_text(f'http = "{endpoint.removeprefix("http://")}"\n')
    flags = ("--project", PROJECT, "--columns", "model", "--limit", "1")
    for arguments, variable in (
        (("--config", str(file)), "http://127.0.0.1:9"),
        (("--http", endpoint.removeprefix("http://")), "http://127.0.0.1:9"),
        (("--endpoint", endpoint), "http://127.0.0.1:9"),
        ((), endpoint),
        ((), f'"{endpoint}"'),
        ((), f" '{endpoint}' "),
        (("--endpoint", f'"{endpoint}"'), "http://127.0.0.1:9"),
    ):
        done = otel_ml(variable, "runs", *flags, *arguments)
        assert (done.returncode, done.stdout) == (0, b"model\nfit\n")


@at_night
def test_invalid_endpoint_of_the_environment() -> None:
    """An invalid address is named with its variable."""
    done = otel_ml('"nowhere"', "runs", "--project", PROJECT)
    assert done.returncode == USAGE
    assert done.stderr.decode().startswith("otel-ml: Invalid OTEL_ML_ENDPOINT 'nowhere': expected ")


@at_night
def test_changed_constants(collector: CollectorProcess) -> None:
    """A single version is listed with the changes of its constants, such as a long prompt."""
    client = Client("prompts", endpoint=collector.endpoint)
    head = "You are a friendly and careful support agent of an online shop for bicycles."

    def make(prompt: str) -> None:
        def answer(question: str) -> str:
            return prompt + question

        client.trace(name="answer")(answer)("a")
        assert client.flush()

    for end in ("Answer in one sentence.", "Answer in rhymes."):
        make(f"{head}\n{end}")
    client.close()
    done = otel_ml(collector.endpoint, "models", "answer:v2", "--project", "prompts")
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[-6:] == [
        "--- prompt v1",
        "+++ prompt v2",
        "@@ -1,2 +1,2 @@",
        f" {head}",
        "-Answer in one sentence.",
        "+Answer in rhymes.",
    ]
    done = otel_ml(collector.endpoint, "models", "answer:v1", "--project", "prompts")
    assert b"---" not in done.stdout


@at_night
def test_release_for_whom(collector: CollectorProcess) -> None:
    """A version that is worse for one country is listed with it, with no filter given."""
    client = Client("whom", endpoint=collector.endpoint)
    now = datetime.now(UTC)
    table = [
        {
            "at": now - timedelta(hours=60 if version == "1" else 20) + timedelta(minutes=place),
            "version": version,
            "country": country,
            "plan": "abc"[place % 3],
            "predicted": "kept",
            "truth": "lost"
            if place % 10 < (7 if (version, country) == ("2", "PL") else 1)
            else "kept",
        }
        for version in "12"
        for country in ("DE", "FR", "NL", "PL")
        for place in range(100)
    ]
    done = client.import_table(
        table,
        model="risk",
        time="at",
        version="version",
        inputs=["plan"],
        outputs="predicted",
        truth="truth",
        tags=["country", "plan"],
    )
    assert done.stored == 800
    client.close()
    asked = ("--project", "whom")
    told = otel_ml(collector.endpoint, "release", "risk", *asked)
    assert told.returncode == 0
    assert told.stderr.startswith(
        b"risk v2 is worse for country PL: 30 % are right, 90 % with v1; "
    )
    others = otel_ml(
        collector.endpoint, "release", "risk", *asked, "--where", 'tags["country"] != "PL"'
    )
    assert (others.returncode, others.stderr) == (0, b"")


@at_night
def test_release(collector: CollectorProcess) -> None:
    """A new version is listed with the previous version, without enough data."""
    client = Client("released", endpoint=collector.endpoint)

    def make(text: str) -> None:
        def answer(question: str) -> str:
            return question + text

        traced = client.trace(name="answer", params={"text": text})(answer)
        for question in ("a", "b"):
            traced(question)
        assert client.flush()

    for text in ("!", "?"):
        make(text)
    client.close()
    with Reader("released", endpoint=collector.endpoint) as reader:
        (release,) = reader.releases("answer")
    assert release["sentence"] == "errors: 0 of 2 runs failed; v1: 0 of 2"
    for model in ([], ["answer"]):
        done = otel_ml(
            collector.endpoint, "release", "--project", "released", *model, "--format", "csv"
        )
        sides, word = ["answer:v2", "answer:v1"], "not enough data"
        assert (done.returncode, list(csv.reader(io.StringIO(done.stdout.decode())))) == (
            0,
            [
                ["candidate", "baseline", "figure", "word", "sentence", "runs", "since"],
                [*sides, "errors", word, "0 of 2 runs failed; v1: 0 of 2", "2", ""],
                [*sides, "missing outputs", word, "0 of 2 runs had no output; v1: 0 of 2", "2", ""],
            ],
        )
    done = otel_ml(collector.endpoint, "compare", "answer:v1", "answer:v2", "--project", "released")
    assert done.stdout.decode().splitlines()[1].strip() == release["sentence"]


@at_night
def test_variability(collector: CollectorProcess) -> None:
    """Command and reader compare outputs of equal inputs; the order of keys does not matter."""
    client = Client("varied", endpoint=collector.endpoint)
    answers = iter(["x", "y", "x", "x"])

    @client.trace(name="answer")
    def answer(question: str, context: dict[str, int]) -> str:
        return next(answers)

    for question in ("a", "b"):
        answer(question, {"k": 1, "m": 2})
        answer(question, {"m": 2, "k": 1})
    assert client.flush()
    client.close()
    columns = ("--columns", "version,inputs,repeated,differing,agreement")
    done = otel_ml(collector.endpoint, "variability", "answer", "--project", "varied", *columns)
    assert rows(done.stdout) == [
        ["version", "inputs", "repeated", "differing", "agreement"],
        ["1", "2", "4", "0.5", "0.5"],
    ]
    with Reader("varied", endpoint=collector.endpoint) as reader:
        found = reader.variability("answer", version=1)
        assert [len(list(reader.runs(group["where"]))) for group in found["groups"]] == [2, 2]
        assert found == reader.variability("answer")


@at_night
def test_fields(collector: CollectorProcess) -> None:
    """Fields of a model are listed with their verdict, and one field with its parts."""
    client = Client("fielded", endpoint=collector.endpoint)

    @client.trace(name="answer")
    def answer(amount: int) -> dict[str, int]:
        return {"twice": 2 * amount}

    for amount in range(3):
        answer(amount)
    assert client.flush()
    client.close()
    command = ("fields", "answer", "--project", "fielded")
    done = otel_ml(collector.endpoint, *command, "--columns", "field,word")
    assert ["inputs.amount", "too", "few"] in rows(done.stdout)
    assert ["outputs.twice", "too", "few"] in rows(done.stdout)
    explained = done.stderr.decode()
    assert explained.startswith("answer has no runs in the newest finished day, from ")
    assert "use --last 1h" in explained
    unknown = otel_ml(collector.endpoint, "fields", "answr", "--project", "fielded")
    assert (unknown.returncode, unknown.stdout) == (NOT_FOUND, b"")
    assert unknown.stderr == b"otel-ml: Project 'fielded' has no version of a model 'answr'\n"
    found = otel_ml(collector.endpoint, "findings", "--project", "fielded")
    assert found.returncode == NOTHING
    assert found.stderr.startswith(b"No problems found. Firing alerts, new errors")
    columns = ("--columns", "part,window")
    done = otel_ml(
        collector.endpoint, command[0], "answer", "inputs.amount", *command[2:], *columns
    )
    assert ["value", "–"] in rows(done.stdout)
    with Reader("fielded", endpoint=collector.endpoint) as reader:
        names = {field["field"] for field in reader.fields("answer")["fields"]}
        report = reader.field("inputs.amount", model="answer")
    assert {"inputs.amount", "outputs.twice", "latency_ms", "outcome"} <= names
    assert [point["n"] for point in report["curve"]] == [3]


def test_slices(collector: CollectorProcess) -> None:
    """Command, reader and findings report the client whose calls fail."""
    client = Client("sliced", endpoint=collector.endpoint)

    @client.trace(name="serve")
    def serve(name: str) -> str:
        client.current_run().tag(client=name)
        if name == "Remax":
            raise ValueError(name)
        return name

    for _ in range(40):
        for name in ("Remax", "Zillow"):
            with suppress(ValueError):
                serve(name)
    assert client.flush()
    client.close()
    asked = ("--project", "sliced", "--figure", "errors", "--columns", "model,runs,word")
    done = otel_ml(collector.endpoint, "slices", *asked)
    assert rows(done.stdout)[:2] == [["model", "runs", "word"], ["serve", "40", "worse"]]
    with Reader("sliced", endpoint=collector.endpoint) as reader:
        worst = reader.slices(figure="errors")["slices"][0]
        (finding,) = [one for one in reader.findings() if one["kind"] == "slice"]
    assert worst["where"] == 'model == "serve" and tags["client"] == "Remax"'
    assert finding["where"] == f'{worst["where"]} and outcome == "error"'
    columns = ("--columns", "kind,model")
    done = otel_ml(collector.endpoint, "findings", "--project", "sliced", *columns)
    assert ["slice", "serve"] in rows(done.stdout)


@at_night
def test_words_about_a_session(collector: CollectorProcess) -> None:
    """Command and reader show reviewers' labels of a session along with its turns."""
    client = Client("talks", endpoint=collector.endpoint)
    with client.run("answer", session="chat/7"):
        pass
    assert client.flush()
    client.close()
    words: list[dict[str, Any]] = [
        {"judge": "helpful", "annotator": "ann", "label": "Yes", "explanation": "at\n\x1b[1mlast"},
        {"judge": "helpful", "annotator": "bob", "passed": False, "score": 0.25},
    ]
    body = json.dumps({"evaluations": [{**word, "session": "chat/7"} for word in words]})
    path = "/api/v1/projects/talks/evaluations"
    status, _, answer = collector.post(path, body.encode(), {"content-type": "application/json"})
    assert status == 200, answer
    with Reader("talks", endpoint=collector.endpoint) as reader:
        evaluations = reader.session("chat/7")["evaluations"]
    assert sorted((item["annotator"], item["label"], item["score"]) for item in evaluations) == [
        ("ann", "Yes", None),
        ("bob", "", 0.25),
    ]
    asked = ("sessions", "chat/7", "--project", "talks")
    done = otel_ml(collector.endpoint, *asked, "--columns", "outcome")
    assert (done.returncode, rows(done.stdout)) == (0, [["outcome"], ["ok"]])
    # Both have the same time, so their order is open.
    assert sorted(done.stderr.decode().splitlines()) == [
        r"helpful (human ann): Yes, at\n\x1b[1mlast",
        "helpful (human bob): fail, 0.25",
    ]
    done = otel_ml(collector.endpoint, *asked, "--json")
    assert json.loads(done.stdout)["evaluations"] == evaluations
    assert done.stderr == b""
