"""Fixtures shared by all tests."""

import fcntl
import gc
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import is_hypothesis_test
from xdist.workermanage import WorkerController

from tests.support.collector import CollectorProcess, running
from tests.support.contract.fixtures import STORE
from tests.support.demo import OUTPUT, record_demo
from tests.support.durations import FOLDER, find_longest
from tests.support.examples import AT_NIGHT, WHICH_TESTS, load_profile
from tests.support.folders import NODE, ROOT
from tests.support.isolation import count_runs, count_stored, isolated, project_of
from tests.support.order import order_modules
from tests.support.otel_ml_collector.stores import Service, Store, open_service, open_store
from tests.support.sampling import EVERY_CASE, find_left_out

NODE_LOCK: Final = NODE / "package-lock.json"
NODE_INSTALLED: Final = NODE_LOCK.parent / "node_modules" / "installed-package-lock.json"
NIGHTLY: Final = ROOT / "tests" / "nightly"
MEMORY: Final = Path("/dev/shm")  # noqa: S108 # each run creates its own folder in it
LONGEST: Final = "longest"  # what the workers receive
ROOM_BYTES: Final = 4 << 30  # CI uses an eighth of it


def choose_folder() -> None:
    """Keep the stores of CI in memory if there is space: on disk, an insert takes 30 times as long.

    The nightly run stores on disk, as users do.
    """
    if AT_NIGHT or "TMPDIR" in os.environ or not MEMORY.is_dir():
        return
    memory = os.statvfs(MEMORY)
    if memory.f_bavail * memory.f_frsize > ROOM_BYTES and not memory.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


load_profile()
choose_folder()


@pytest.fixture(scope="session", autouse=True)
def usual_variables() -> None:
    """Hide the variables that select tests: a collector warns that it does not know them."""
    for name in (WHICH_TESTS, EVERY_CASE):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the workers of one run share."""
    ours = tmp_path_factory.getbasetemp()
    return ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours


@pytest.fixture(scope="session")
def owners(all_workers: Path) -> Path:
    """Return the file that records which module wrote to a project first."""
    return all_workers / "owners.json"


@pytest.fixture(scope="session")
def shared_collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Run the collector of a worker; tests use it through the fixture `collector`."""
    with running(tmp_path_factory.mktemp("data")) as process:
        yield process


@pytest.fixture(scope="module")
def collector(
    shared_collector: CollectorProcess, owners: Path, request: pytest.FixtureRequest
) -> Iterator[CollectorProcess]:
    """Return a collector that all tests of a worker share; each module has its own projects."""
    with isolated(owners, request.node.nodeid, "collector", lambda: count_runs(shared_collector)):
        yield shared_collector


@pytest.fixture
def own_collector(tmp_path: Path) -> Iterator[CollectorProcess]:
    """Run a collector for one test that stops, kills or restarts it."""
    with running(tmp_path / "data") as process:
        yield process


@pytest.fixture
def started_collector(tmp_path: Path) -> Iterator[CollectorProcess]:
    """Run a collector for one test of its exit: started as users start it, not forked."""
    with running(tmp_path / "data", forked=False) as process:
        yield process


@pytest.fixture(scope="session")
def shared_store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data directory that `store` and `service` open once per module of a worker."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def store(
    shared_store_folder: Path, owners: Path, request: pytest.FixtureRequest
) -> Iterator[Store]:
    """Open a store that all tests of a worker share; each module has its own projects."""
    with (
        open_store(shared_store_folder) as opened,
        isolated(owners, request.node.nodeid, "store", lambda: count_stored(opened)),
    ):
        yield opened


@pytest.fixture(scope="module")
def service(
    shared_store_folder: Path, owners: Path, request: pytest.FixtureRequest
) -> Iterator[Service]:
    """Open the whole HTTP application over the shared store."""
    with (
        open_service(shared_store_folder) as opened,
        isolated(owners, request.node.nodeid, "store", lambda: count_stored(opened.store)),
    ):
        yield opened


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Open a separate store, for a module that changes more than its projects."""
    with open_store(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture(scope="module")
def own_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open an application with its own store, for a module that changes more than its projects."""
    with open_service(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Return a project name that only this test uses."""
    return project_of(request.node.nodeid)


@pytest.fixture(scope="session")
def recorded_demo(all_workers: Path) -> Path:
    """Record the data and output of the demo, which one worker runs for all."""
    recorded = all_workers / "recorded-demo"
    with recorded.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (recorded / OUTPUT).exists():  # written last
            shutil.rmtree(recorded, ignore_errors=True)
            record_demo(recorded)
    return recorded


@pytest.fixture(scope="session")
def node() -> str:
    """Return the path of Node.js after installing the pinned packages of tests/support/node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    assert node is not None, "Node.js is missing: type `make tools`"
    assert npm is not None, "npm is missing: type `make tools`"
    with NODE_LOCK.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of pytest-xdist share the directory
        wanted = lock.read()
        if not NODE_INSTALLED.exists() or NODE_INSTALLED.read_bytes() != wanted:
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=NODE_LOCK.parent, check=True, timeout=300)
            NODE_INSTALLED.write_bytes(wanted)
    return node


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that turns skipped tests into failures."""
    parser.addoption("--forbid-skips", action="store_true", help="a skipped test is a failure")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Give all workers one order, even if another run keeps its durations while they start."""
    node.workerinput[LONGEST] = find_longest(ROOT / FOLDER, at_night=AT_NIGHT)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of the other kind of run: CI or nightly."""
    # with STORE, the whole contract suite runs on an existing server
    if os.environ.get(STORE) or os.environ.get(EVERY_CASE):
        return
    left_out = find_left_out(items)
    if AT_NIGHT:
        chosen = [item for item in items if item.nodeid in left_out or _is_nightly(item)]
    else:
        chosen = [item for item in items if item.nodeid not in left_out]
    chosen_ids = {item.nodeid for item in chosen}
    config.hook.pytest_deselected(items=[i for i in items if i.nodeid not in chosen_ids])
    worker: Mapping[str, Any] = getattr(config, "workerinput", {})
    waiting = {item.path for item in chosen if "recorded_demo" in getattr(item, "fixturenames", ())}
    items[:] = order_modules(chosen, worker[LONGEST], waiting) if worker else chosen


def _is_nightly(item: pytest.Item) -> bool:
    """Return whether the nightly run executes a test that CI does not run, or not as thoroughly."""
    return (
        item.path.is_relative_to(NIGHTLY)
        or item.get_closest_marker("harder") is not None
        # Hypothesis adds its marker only after the hook above
        or is_hypothesis_test(getattr(item, "obj", None))
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Disable garbage collection during collection, because imported modules stay anyway."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Print failures as they occur: a run that is cut off has no summary."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Failures(terminal))


class _Failures:
    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._terminal.write_line(f"\n{report.nodeid} failed in its {report.when}")
            self._terminal.write_line(report.longreprtext[-3000:])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure when the run is meant to be complete."""
    report = yield
    if (
        report.skipped
        and not hasattr(report, "wasxfail")
        and item.config.getoption("--forbid-skips")
    ):
        report.outcome = "failed"
        report.longrepr = f"skipped, which this run forbids: {report.longrepr}"
    return report
