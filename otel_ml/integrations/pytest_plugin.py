"""The pytest plugin: run a test per item of a data set, or evaluate a whole data set in a test.

pytest loads the plugin in every session, so it imports other modules only when a test needs them.
"""

import hashlib
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from otel_ml.experiments.dataset import Dataset, Item
    from otel_ml.experiments.result import Result
    from otel_ml.runs import OpenedRun

_MARKER: Final = "otel_ml"
_USAGE: Final = 'expected @pytest.mark.otel_ml(dataset="qa.jsonl", repeats=1)'
_SESSION: Final = "otel_ml_session"


@dataclass(frozen=True)
class _Job:
    """An item and the number of a repeat: the parameter of a test."""

    item: "Item"
    repeat: int


@dataclass
class _Suite:
    """The experiment of a marked test function.

    Attributes:
        about: Node id and name of the function, name and digest of the data set, number of items,
            and number of repeats. Workers send it with each test.
        run: The experiment's run, in the process that opened it.
        passed: Number of passed tests known to this process.
        count: Number of tests known to this process.
    """

    about: dict[str, Any]
    run: "OpenedRun | None" = None
    passed: int = 0
    count: int = 0


@dataclass
class _Session:
    """The state of marked tests in this process.

    Attributes:
        key: Random key, the same in all processes of a pytest-xdist session.
        is_worker: Whether another process opens and closes the experiments.
        suites: Experiments by node id of the function.
        datasets: Loaded data sets by node id of the function.
    """

    key: str
    is_worker: bool
    suites: dict[str, _Suite] = field(default_factory=dict)
    datasets: "dict[str, Dataset]" = field(default_factory=dict)

    def ids(self, node: str) -> tuple[int, int]:
        """Return trace id and span id of an experiment's run.

        They are the same in all processes.
        """
        digest = hashlib.sha256(f"{self.key} {node}".encode()).digest()
        return int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:24], "big") or 1


_STATE: Final = pytest.StashKey[_Session]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker ``otel_ml``, and prepare the state of the session."""
    config.addinivalue_line(
        "markers", f"{_MARKER}(dataset, repeats=1): run the test once for each item of a data set"
    )
    workerinput = getattr(config, "workerinput", None)
    key = os.urandom(8).hex() if workerinput is None else workerinput[_SESSION]
    config.stash[_STATE] = _Session(key, workerinput is not None)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the key of the test session to a pytest-xdist worker.

    Experiments are identified by this key, so that all workers record to the same ones.
    """
    node.workerinput[_SESSION] = node.config.stash[_STATE].key


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Create one test per item and repeat, for each test marked ``otel_ml``."""
    marker = metafunc.definition.get_closest_marker(_MARKER)
    if marker is None:
        return
    node = metafunc.definition.nodeid
    if "item" not in metafunc.fixturenames:
        raise pytest.UsageError(f"{node} has no parameter item: {_USAGE} above def test(item)")
    dataset, repeats = _read_marker(node, metafunc, marker)
    session = metafunc.config.stash[_STATE]
    session.datasets[node] = dataset
    about = {"node": node, "name": metafunc.function.__qualname__, "dataset": dataset.name}
    about |= {"digest": dataset.digest, "items": len(dataset), "repeats": repeats}
    session.suites[node] = _Suite(about)
    jobs = [_Job(item, repeat) for repeat in range(repeats) for item in dataset]
    names = [job.item.id if repeats == 1 else f"{job.item.id}-{job.repeat}" for job in jobs]
    metafunc.parametrize("item", jobs, ids=names, indirect=True)


def _read_marker(
    node: str, metafunc: pytest.Metafunc, marker: pytest.Mark
) -> "tuple[Dataset, int]":
    from otel_ml.default import _CLIENT  # only if a test is marked
    from otel_ml.experiments.experiment import dataset_of

    kwargs = dict(marker.kwargs)
    given = marker.args[0] if len(marker.args) == 1 else kwargs.pop("dataset", None)
    repeats = kwargs.pop("repeats", 1)
    if given is None or kwargs or type(repeats) is not int or repeats < 1:
        raise pytest.UsageError(f"Invalid marker {_MARKER} of {node}: {_USAGE}")
    if isinstance(given, str):  # relative to the test's folder, else to the working directory
        beside = metafunc.definition.path.parent / given
        given = beside if beside.is_file() else given
    try:
        return dataset_of(given, _CLIENT._recorder), repeats
    except (ValueError, OSError) as error:
        raise pytest.UsageError(f"{node}: {error}") from error


@pytest.fixture
def item(request: pytest.FixtureRequest) -> "Item":
    """The data set item of a test marked ``otel_ml``: use its `inputs` and `expected`."""
    job = getattr(request, "param", None)
    if not isinstance(job, _Job):
        raise pytest.UsageError(f"{request.node.nodeid} uses item without a data set: {_USAGE}")
    test_item: Item = job.item
    return test_item


@pytest.fixture
def otel_ml_evaluate() -> "Callable[..., Result]":
    """Run a function on a data set. See `otel_ml.evaluate`."""
    from otel_ml.default import evaluate  # imported only if a test uses it

    return evaluate


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, None]:
    """Record the test of a data set item as a run. Whether the test passes is the run's score."""
    spec = getattr(pyfuncitem, "callspec", None)
    job = None if spec is None else spec.params.get("item")
    if not isinstance(job, _Job):
        yield
        return
    from otel_ml.default import _CLIENT  # only if a test is marked
    from otel_ml.experiments.recorded_tests import record_test

    node = pyfuncitem.nodeid.partition("[")[0]
    session = pyfuncitem.config.stash[_STATE]
    about = session.suites[node].about
    if not session.is_worker:
        _open(session, about)
    part = job.item, job.repeat
    recorder, dataset = _CLIENT._recorder.in_force, session.datasets[node]
    with record_test(recorder, session.ids(node), about["name"], dataset, part) as tested:
        outcome = yield
        error = None if outcome.excinfo is None else outcome.excinfo[1]
        tested.end(error, is_skipped=isinstance(error, pytest.skip.Exception))
    pyfuncitem.user_properties.append((_MARKER, about))


def _open(session: _Session, about: dict[str, Any]) -> _Suite:
    """Open the experiment of a marked function, once."""
    node = about["node"]
    # With pytest-xdist only the workers have loaded the data set.
    suite = session.suites.setdefault(node, _Suite(about))
    if suite.run is None:
        from otel_ml.default import _CLIENT  # only if a test is marked
        from otel_ml.experiments.recorded_tests import open_tests

        suite.run = open_tests(_CLIENT._recorder.in_force, session.ids(node), about)
    return suite


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count a finished test of a data set item, in the process that collects all test reports."""
    user_property = dict(report.user_properties).get(_MARKER)
    if report.when != "call" or not isinstance(user_property, dict) or _REPORTING is None:
        return
    suite = _open(_REPORTING, user_property)
    suite.count += 1
    suite.passed += report.passed


# The session of the process that collects the reports. Its hook gets no config.
_REPORTING: _Session | None = None


def pytest_sessionstart(session: pytest.Session) -> None:
    """Store the session state, so that finished tests can be counted."""
    global _REPORTING  # noqa: PLW0603 - the report hook gets no config
    state = session.config.stash[_STATE]
    _REPORTING = None if state.is_worker else state


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the experiments that this process opened, and send the queued records."""
    for suite in session.config.stash[_STATE].suites.values():
        if suite.run is not None:
            suite.run.end()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print how many tests of each experiment passed, with the address of its page."""
    suites = [suite for suite in config.stash[_STATE].suites.values() if suite.count]
    if not suites:
        return
    from otel_ml.default import _CLIENT  # only if a test was marked
    from otel_ml.notebook import page_address

    terminalreporter.section("otel-ml")
    for suite in suites:
        page = ""
        if suite.run is not None and suite.run.is_recorded:
            recorder = _CLIENT._recorder
            page = page_address(recorder.page, recorder.project, "runs", suite.run.id)
        experiment = f"{suite.about['name']} on {suite.about['dataset']}"
        text = f"{experiment}: {suite.passed} of {suite.count} passed"
        terminalreporter.write_line(" ".join(filter(None, (text, page))))
