"""`otel-ml experiments`, `compare` and `baseline` with a collector that has experiments."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from opentelemetry import trace

from otel_ml import Client, Dataset, Judge
from otel_ml.experiments.result import Result
from otel_ml.experiments.stored_results import load_result
from otel_ml.judges.ready import exact
from otel_ml.reader import BadQuery, NotFound, Reader
from otel_ml_collector.cli import main
from tests.process.otel_ml.reader.servers import answering, passing_on
from tests.support.collector import CollectorProcess, running
from tests.support.sampling import at_night, sampled

QA = Dataset("qa", [{"inputs": {"a": a}, "expected": a + 1} for a in range(40)])


def right(a: int) -> int:
    return a + 1


def wrong(a: int) -> int:
    return a + 1 if a % 3 else -1


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    with running(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture(scope="module")
def results(collector: CollectorProcess) -> list[Result]:
    """The results of two experiments; the second one is worse."""
    client = Client("tried", endpoint=collector.endpoint, join=False)
    found = [client.evaluate(one, QA, [exact], name=one.__name__) for one in (right, wrong)]
    assert client.flush()
    client.close()
    return found


@pytest.fixture(autouse=True)
def _meant(collector: CollectorProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_ML_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_ML_PROJECT", "tried")


def test_list(results: list[Result], capsys: pytest.CaptureFixture[str]) -> None:
    """Experiments are listed newest first, and a filter selects from them."""
    assert main(["experiments", "--format", "csv", "--columns", "name,run_id,done"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "name,run_id,done",
        *(f"{one.experiment.name},{one.experiment.id},40" for one in reversed(results)),
    ]
    assert main(["experiments", "--limit", "1", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["experiments"]
    assert found["name"] == "wrong"
    assert main(["experiments", "--where", 'dataset == "none"']) == 1


@at_night
def test_list_says_what_came_of_each(
    collector: CollectorProcess, results: list[Result], capsys: pytest.CaptureFixture[str]
) -> None:
    """The list shows each experiment's verdict and the value of each of its judges."""
    client = Client("listed", endpoint=collector.endpoint, join=False)
    first = client.evaluate(right, QA, [exact], name="first")
    client.evaluate(wrong, QA, [exact], name="second", baseline=first)
    assert client.flush()
    client.close()
    words = ["experiments", "--project", "listed", "--json"]
    assert main(words) == 0
    listed = json.loads(capsys.readouterr().out)["experiments"]
    told = [(one["name"], one["verdict"], one["values"]) for one in listed]
    assert told == [("second", "worse", {"exact": 0.65}), ("first", "", {"exact": 1.0})]
    assert main(words[:3]) == 0
    assert re.search(r"worse +exact=0.65", capsys.readouterr().out)


@at_night
def test_experiments_are_as_runs(collector: CollectorProcess, results: list[Result]) -> None:
    """The reader's list of experiments has a length, an index, slices and a table."""
    names = [one.experiment.name for one in reversed(results)]
    with Reader("tried") as reader:
        listed = reader.experiments('name == "right" or name == "wrong"')
        assert (len(listed), [one.name for one in listed], bool(listed)) == (2, names, True)
        assert (listed[0].name, listed[-1].name) == (names[0], names[1])
        assert [one.name for one in listed[:1]] == names[:1]
        assert [one.name for one in listed[1:]] == names[1:]
        for place in (2, -3):
            with pytest.raises(IndexError, match="the list has fewer experiments"):
                listed[place]
        assert len(reader.experiments(limit=1)) == 1
        assert not reader.experiments('dataset == "none"')
        html = getattr(listed, "_repr_html_")()  # noqa: B009 - the name is IPython's
    assert f'/projects/tried/experiments/{results[1].experiment.id}"' in html
    assert "<td>exact 0.65</td>" in html
    assert repr(listed).startswith("<Experiments tried ")


@at_night
def test_list_of_experiments_reads_once(collector: CollectorProcess, results: list[Result]) -> None:
    """Iterating over the reader's experiments requests each page once."""
    with answering(passing_on(collector.endpoint)) as between:
        listed = list(Reader("tried", endpoint=between.endpoint).experiments())
        assert {one.run_id for one in listed} >= {one.experiment.id for one in results}
        assert len([path for path in between.asked if "/experiments" in path]) == 1


@sampled(1)
@pytest.mark.parametrize(
    ("places", "more", "status"),
    [
        ((0, 1), (), 1),
        ((1, 0), (), 0),
        ((0, 0), (), 0),
        ((0, 1), ("--fail-if", "errors > 0"), 0),
        ((0, 1), ("--fail-if", 'difference["exact"] < 0'), 1),
        ((0, 1), ("--fail-if", 'errors > 0 or difference["exact"] < 0 and runs == 40'), 1),
        ((0, 1), ("--fail-if", "not worse"), 0),
        ((0, 1), ("--fail-if", "regressions / runs > 0.3"), 1),
        ((0, 1), ("--fail-if", "colour"), 2),
        ((0, 1), ("--fail-if", 'score["wrong"] > 0'), 2),
        ((0, 1, 0), (), 1),
    ],
)
def test_compare(
    results: list[Result], places: tuple[int, ...], more: tuple[str, ...], status: int
) -> None:
    """The status tells whether a condition holds in the comparison with the first experiment."""
    ids = [results[place].experiment.id for place in places]
    assert main(["compare", *ids, *more]) == status


@at_night
def test_refused_condition(results: list[Result], capsys: pytest.CaptureFixture[str]) -> None:
    """An error in a condition is shown with its position."""
    ids = [result.experiment.id for result in results]
    for text, message, column in (
        ("runs > 0 and regresions > 0", "did you mean regressions?", 13),
        ('pass_rate["exat"] < 1', "did you mean exact?", 0),
    ):
        assert main(["compare", *ids, "--fail-if", text]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.splitlines()[-2:] == [f"  {text}", f"  {' ' * column}^"]


def test_reports(results: list[Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed table and the files contain the verdict and the regressions."""
    first, second = (one.experiment.id for one in results)
    files = {name: str(tmp_path / name) for name in ("markdown", "json", "share")}
    said = [word for name, path in files.items() for word in (f"--{name}", path)]
    assert main(["compare", first, second, *said]) == 1
    told = json.loads((tmp_path / "json").read_text())
    assert (told["verdict"], len(told["regressions"])) == ("worse", 14)
    markdown = (tmp_path / "markdown").read_text().splitlines()
    assert re.fullmatch(
        r"\*\*wrong\*\*: worse than right \(.*\): exact: .* pts worse \(.*\)", markdown[0]
    )
    assert [line[:8] for line in markdown if line.startswith("| ")][2] == "| exact "
    worse = markdown.index("| worse | by | output now | before |")
    assert len([line for line in markdown[worse + 2 :] if line.startswith("| ")]) == 5
    assert "and 9 more" in markdown
    file = (tmp_path / "share").read_text()
    assert file.startswith("<!doctype html>")
    assert "B is worse" in file
    assert re.search(r"wrong returned something else than right for \d+ of 40 shared items", file)
    printed = capsys.readouterr()
    assert "worse than right" in printed.out
    assert printed.err == "otel-ml: --fail-if worse\n"


@at_night
def test_baseline_is_named(
    collector: CollectorProcess, results: list[Result], capsys: pytest.CaptureFixture[str]
) -> None:
    """The tagged experiment is the baseline of the next one."""
    assert main(["baseline", "set", results[0].experiment.id]) == 0
    assert capsys.readouterr().out.startswith("baseline is now the experiment right on qa of ")
    client = Client("tried", endpoint=collector.endpoint, join=False)
    result = client.evaluate(wrong, QA, [exact], baseline="baseline", name="again")
    assert result.baseline is not None
    assert result.baseline.experiment.id == results[0].experiment.id
    assert result.verdict == "worse"


@sampled(1)
@pytest.mark.parametrize(
    "words",
    [
        ("compare", "no-id", "no-id"),
        ("compare", f"{'1' * 32}-{'1' * 16}", f"{'2' * 32}-{'2' * 16}"),
        ("compare", "one"),
        ("baseline", "set", f"{'1' * 32}-{'1' * 16}"),
    ],
)
def test_wrong_words(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong argument exits with status 2 and an error message."""
    assert main([*words]) == 2
    assert capsys.readouterr().err


def said_by(answer: str) -> Callable[[int], str]:
    """Make a function whose source depends on the answer, so that each is a separate version."""
    if answer == "v2":

        def reply(question: int) -> str:
            return "yes" if question % 20 else "no"
    else:

        def reply(question: int) -> str:
            return "yes" if question % 3 else "no"

    return reply


def rubric(outputs: str) -> float:
    return float(outputs == "yes")


@pytest.fixture(scope="module")
def versions(collector: CollectorProcess) -> Reader:
    """Two versions of a model in production; the first one is worse.

    The worse version is the older one, so a test chooses the newer one as the baseline.
    """
    for version in ("v1", "v2"):
        client = Client("tried", endpoint=collector.endpoint, join=False)
        judge = Judge("says_yes", "", rubric, lambda score: score > 0.5)
        reply = client.assess(judge, name="reply")(said_by(version))
        for question in range(120):
            reply(question)
        assert client.flush()
        client.close()
    return Reader("tried", endpoint=collector.endpoint)


@sampled(1)
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("reply:v2", "reply:v1"), 1),
        (("reply:v1", "reply:v2"), 0),
        (("reply:v2", "reply:v1", "--fail-if", "errors > 0"), 0),
        (("reply:v2", "reply:v1", "--fail-if", 'pass_rate["says_yes"] < 0.7'), 1),
        (("reply:v2", "reply:v1", "--fail-if", "runs < 120"), 0),
        (("reply:v2", "reply:v1", "--fail-if", "flaky > 0"), 2),
        (("reply:v1", "reply:v9"), 2),
        (("reply:v1", f"{'1' * 32}-{'1' * 16}"), 2),
    ],
)
def test_compare_versions(versions: Reader, words: tuple[str, ...], status: int) -> None:
    """Versions are compared by their recorded runs; the status tells whether a condition holds."""
    assert main(["compare", *words]) == status


@pytest.mark.usefixtures("versions")
def test_activity(capsys: pytest.CaptureFixture[str]) -> None:
    """The activity of a project lists its new versions; an unknown kind is refused."""
    words = ["activity", "--kind", "version", "--format", "csv", "--columns", "name,action"]
    assert main(words) == 0
    assert "reply:v2,new version" in capsys.readouterr().out.splitlines()
    assert main(["activity", "--kind", "none"]) == 2


@at_night
@pytest.mark.usefixtures("versions")
def test_share(tmp_path: Path) -> None:
    """A comparison is written as one file."""
    file = tmp_path / "compared.html"
    assert main(["share", "--compare", "reply:v1", "reply:v2", "--output", str(file)]) == 0
    assert file.read_text().startswith("<!doctype html>")


def short(question: int) -> None:
    trace.get_current_span().set_attribute("gen_ai.usage.output_tokens", 90 + question % 20)


def long(question: int) -> None:
    trace.get_current_span().set_attribute("gen_ai.usage.output_tokens", 290 + question % 20)


@at_night
def test_version_that_costs_more(
    collector: CollectorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 1 if the verdict is worse, also if only the tokens are."""
    client = Client("tried", endpoint=collector.endpoint, join=False)
    for function in (short, long):
        traced = client.trace(name="written")(function)
        for question in range(120):
            traced(question)
    assert client.flush()
    client.close()
    assert main(["compare", "written:v1", "written:v2"]) == 1
    assert capsys.readouterr().out.startswith("written:v2 vs written:v1: worse\n")
    assert main(["compare", "written:v2", "written:v1", "--fail-if", "maybe-worse"]) == 0


@at_night
def test_new_version(collector: CollectorProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """A version that is too new for a verdict has "not enough data", as on the pages."""
    client = Client("tried", endpoint=collector.endpoint, join=False)
    for function in (right, wrong):
        client.trace(name="fresh")(function)(1)
    assert client.flush()
    client.close()
    assert main(["compare", "fresh:v1", "fresh:v2"]) == 0
    assert capsys.readouterr().out.startswith("fresh:v2 vs fresh:v1: not enough data\n")


@at_night
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("young:v1", "young:v2"), 0),
        (("young:v1", "young:v2", "--fail-if", "not-enough-data"), 1),
        (("young:v2", "young:v1", "--fail-if", "worse or not-enough-data"), 1),
        (("tuned:v1", "tuned:v2", "--fail-if", "not-enough-data"), 0),
    ],
)
def test_fail_if_not_enough_data(
    collector: CollectorProcess,
    tuned: list[Result],
    capsys: pytest.CaptureFixture[str],
    *,
    words: tuple[str, ...],
    status: int,
) -> None:
    """With `--fail-if not-enough-data`, a comparison without enough data exits with 1."""
    client = Client("tried", endpoint=collector.endpoint, join=False)
    for function in (right, wrong):
        client.trace(name="young")(function)(1)
    assert client.flush()
    client.close()
    assert main(["compare", *words]) == status
    printed = capsys.readouterr()
    assert ("not enough data" in printed.out.splitlines()[0]) == words[0].startswith("young")
    assert printed.err == (f"otel-ml: --fail-if {words[-1]}\n" if status else "")


def test_versions_of_two_models(
    versions: Reader, collector: CollectorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """A comparison of two models is refused, so that a build does not pass because of it."""
    client = Client("tried", endpoint=collector.endpoint, join=False)
    client.trace(name="other")(rubric)("yes")
    assert client.flush()
    client.close()
    assert main(["compare", "reply:v1", "other:v1"]) == 2
    assert capsys.readouterr().err == (
        "otel-ml: Cannot compare other:v1 with reply:v1: they are versions of different models\n"
    )


@at_night
def test_versions_have_the_words_of_the_page(
    collector: CollectorProcess,
    versions: Reader,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Command, API, reader and page show the same comparison of two versions, digit by digit."""
    report, told = tmp_path / "report.md", tmp_path / "told.json"
    words = ["reply:v2", "reply:v1", "--markdown", str(report), "--json", str(told)]
    words += ["--share", str(tmp_path / "file.html")]
    assert main(["compare", *words]) == 1
    found = versions.compare(["reply:v2", "reply:v1"], baseline="reply:v2")
    assert found["sentence"] == "B is worse than the baseline A"
    side = found["sides"][1]
    version = side["version"]
    [judge] = version["verdict"]["judges"]
    assert json.loads(told.read_text()) == {**version, "pairs": side["pairs"]}
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "reply:v1 vs reply:v2: worse"
    assert judge["word"] == "worse"
    assert f"  says_yes: {judge['sentence']}" in printed
    markdown = report.read_text()
    assert f"* says_yes: {judge['sentence']}" in markdown
    assert "| judge | value | baseline | difference | verdict |" in markdown
    assert re.search(r"\| says\\_yes \| \S+ \(.* to .*\) \| .* \| worse \|", markdown)
    assert "B is worse" in (tmp_path / "file.html").read_text()
    path = "/projects/tried/compare?of=reply:v2&of=reply:v1&baseline=reply:v2"
    with urlopen(f"{collector.endpoint}{path}") as page:
        assert judge["sentence"] in page.read().decode()


@pytest.fixture(scope="module")
def tuned(collector: CollectorProcess) -> list[Result]:
    """Experiments on two versions of a model without other runs; the second version is worse."""
    client = Client("tried", endpoint=collector.endpoint, join=False)
    found = [
        client.evaluate(client.assess(name="tuned")(one), QA, [exact], name=f"tuned {one.__name__}")
        for one in (right, wrong)
    ]
    assert client.flush()
    client.close()
    return found


@sampled(1)
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("tuned:v1", "tuned:v2"), 1),
        (("tuned:v1", "tuned:v2", "--fail-if", "worse"), 1),
        (("tuned:v2", "tuned:v1", "--fail-if", "maybe-worse"), 0),
        (("tuned:v1", "tuned:v2", "--fail-if", 'pass_rate["exact"] < 0.7'), 1),
    ],
)
def test_experiments_decide_about_versions(
    tuned: list[Result], words: tuple[str, ...], status: int
) -> None:
    """If both versions have experiments on one data set, the experiments decide the status."""
    assert main(["compare", *words]) == status


@at_night
def test_versions_have_one_verdict(
    collector: CollectorProcess, tuned: list[Result], capsys: pytest.CaptureFixture[str]
) -> None:
    """Model page, side-by-side comparison, command, API and reader show the same verdict."""
    first, second = (one.experiment.id for one in tuned)
    sentence = load_result(second, first).judges["exact"].sentence
    with Reader("tried") as reader:
        found = reader.compare(["tuned:v1", "tuned:v2"])
        own = reader._get("models", "tuned", "versions", "2", "verdict", against=1)
    assert found["sentence"] == "B is worse than the baseline A"
    assert found["sides"][1]["version"]["verdict"] == own
    pairs = found["sides"][1]["pairs"]
    assert (own["word"], own["judges"][0]["sentence"]) == ("worse", sentence)
    assert (own["basis"], own["heading"]) == (
        "experiments",
        "v2 vs v1: experiments on qa, tuned wrong vs tuned right, 40 shared items",
    )
    assert [own[name]["name"] for name in ("baseline_experiment", "experiment")] == [
        "tuned right",
        "tuned wrong",
    ]
    assert main(["compare", "tuned:v1", "tuned:v2"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "tuned:v2 vs tuned:v1: worse",
        f"  exact: {sentence}",
        *(f"  {one['name']}: {one['sentence']}" for one in own["amounts"]),
        f"  data: {own['heading']}",
        "  recorded runs: no judge scored both versions",
        f"  pairs: {pairs['sentence']}",
        *(f"    {one['text']}" for one in pairs["pairs"]),
    ]
    assert pairs["sentence"] == "v2 returned something else than v1 for 14 of 40 equal inputs"
    for path in (
        "compare?of=tuned:v1&of=tuned:v2",
        "model-verdict?model=tuned&version=2&against=1",
    ):
        with urlopen(f"{collector.endpoint}/projects/tried/{path}") as page:
            text = page.read().decode()
        assert sentence.partition(": ")[0] in text  # the values; the evidence is in smaller type
        assert 'class="worse-w"' in text
        assert "tuned wrong vs tuned right" in text


@at_night
def test_names_of_experiments(results: list[Result], capsys: pytest.CaptureFixture[str]) -> None:
    """Experiments can be compared by name; for an unknown name the error suggests a similar one."""
    assert main(["compare", "right", "wrong"]) == 1
    by_name = capsys.readouterr()
    assert main(["compare", *(one.experiment.id for one in results)]) == 1
    assert capsys.readouterr() == by_name
    assert main(["compare", "right", "wrng"]) == 2
    assert "There is no experiment 'wrng': did you mean wrong?" in capsys.readouterr().err


@at_night
def test_alias_is_a_baseline(
    collector: CollectorProcess, tuned: list[Result], capsys: pytest.CaptureFixture[str]
) -> None:
    """A version's alias can be used as a baseline and in comparisons of versions."""
    with Reader("tried") as reader:
        reader.set_alias("tuned", "champion", 1)
        found = reader.compare(["tuned:v2", "tuned@champion"])
        assert (found["baseline"], found["sides"][1]["name"]) == ("tuned@champion", "tuned:v1")
        with pytest.raises(BadQuery, match="found 'tuned@champion' twice"):
            reader.compare(["tuned:v1", "tuned@champion"])
        with pytest.raises(NotFound, match="No version of 'tuned' is called 'nobody'"):
            reader.compare(["tuned:v1", "tuned@nobody"])
    client = Client("tried", endpoint=collector.endpoint, join=False)
    result = client.evaluate(wrong, QA, [exact], baseline="tuned@champion", name="beside champion")
    client.close()
    assert result.baseline is not None
    assert result.baseline.experiment.id == tuned[0].experiment.id
    assert main(["compare", "tuned@champion", "tuned:v2"]) == 1
    assert capsys.readouterr().out.startswith("tuned:v2 vs tuned@champion: worse")


@at_night
def test_experiments_have_the_digits_of_the_page(
    collector: CollectorProcess, results: list[Result], capsys: pytest.CaptureFixture[str]
) -> None:
    """Command, reader and page show the same comparison of two experiments, digit by digit."""
    ids = [one.experiment.id for one in results]
    assert main(["compare", *ids]) == 1
    printed = capsys.readouterr().out
    with Reader("tried", endpoint=collector.endpoint) as reader:
        verdict = reader.compare(ids)["sides"][1]["experiment"]["verdict"]
    [judge] = verdict["judges"]
    assert f"exact: {judge['sentence']}" in printed
    change = judge["difference"]
    assert f"{change['value']:+.1%} ({change['low']:+.1%} to {change['high']:+.1%})" in printed
    query = "&".join(f"of={one}" for one in ids)
    with urlopen(f"{collector.endpoint}/projects/tried/compare?{query}") as page:
        assert judge["sentence"] in page.read().decode()


@at_night
def test_reader_says_what_is_wrong(collector: CollectorProcess) -> None:
    """The reader raises an error with the API's message if it cannot compare."""
    with Reader("tried", endpoint=collector.endpoint) as reader:
        with pytest.raises(BadQuery, match="expected 2 to 6 runs"):
            reader.compare(["reply:v1"])
        with pytest.raises(NotFound, match="no version of a model"):
            reader.compare(["none:v1", "none:v2"])
        with pytest.raises(ValueError, match="Invalid of"):
            reader.compare("reply:v1")
