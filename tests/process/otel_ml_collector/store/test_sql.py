"""Tests that SQL is built only from literals."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

from otel_ml_collector.store.sql import Sql, identifier, join_sql, parameter, split_long_values
from tests.support.folders import ROOT
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night

WANTED = Sql("SELECT {wanted:Array(String)} AS one, length({wanted:Array(String)}) AS size")
SAMPLE = '''
"""What is right, and what is wrong."""

from typing import Final

from otel_ml_collector.store.sql import Sql, identifier, join_sql, parameter

NAME: Final = "runs"


def ask(typed: str) -> None:
    """Write SQL of what somebody typed."""
    sql = Sql("SELECT {columns} FROM ").fill(columns=Sql("*")) + Sql(NAME)
    print(join_sql(" AND ", [sql, identifier(typed, {NAME}), parameter(typed, "String")]))
    Sql(typed)  # wrong
    Sql(f"SELECT {typed}")  # wrong
    Sql("SELECT " + typed)  # wrong
    Sql("SELECT {}".format(typed))  # wrong
    Sql("SELECT %s" % typed)  # wrong
    Sql(*[typed])  # wrong
    Sql("SELECT {column}").fill(column=typed)  # wrong
    parameter("name", typed)  # wrong
    join_sql(" AND ", [typed])  # wrong
    join_sql(typed, [sql])  # wrong
    sql += typed  # wrong
    sql = Sql(NAME).format(typed)  # wrong
    sql = sql.replace("a", typed)  # wrong
'''

FACTS = '''
"""Statements on tables of facts, and on others."""

from typing import Final

from otel_ml_collector.store.sql import Sql

READ: Final = "SELECT value FROM metrics"


def ask() -> None:
    """Write statements."""
    Sql("SELECT * FROM runs JOIN open_runs USING (span_id) WHERE metrics != ''")
    Sql("SELECT key FROM trace_index")
    Sql("SELECT value FROM metrics FINAL")  # wrong
    Sql(READ)  # wrong
    Sql("""
        SELECT key FROM runs
        JOIN trace_keys USING (trace_id)""")  # wrong
    Sql("INSERT INTO late_tags VALUES")  # wrong
    Sql("SELECT * FROM {table}").fill(table=Sql("scores FINAL"))  # wrong
'''


def find_errors(folder: Path, *samples: Path) -> tuple[set[tuple[str, int]], str]:
    """Run mypy. Return the file and last line of each statement with an error, and the output."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--show-error-end", "--cache-dir", folder, *samples],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    errors = re.findall(r"(\w+)\.py:\d+:\d+:(\d+):\d+: error", done.stdout)
    return {(name, int(line)) for name, line in errors}, done.stdout


def list_wrong(name: str, text: str) -> set[tuple[str, int]]:
    """Return the lines of a file that are marked as wrong."""
    lines = enumerate(text.splitlines(), 1)
    return {(name, number) for number, line in lines if line.endswith("# wrong")}


@at_night
def test_mypy_refuses_text_from_outside(tmp_path: Path) -> None:
    """Mypy reports each line that puts outside text into SQL, and no other line."""
    sample = tmp_path / "sample.py"
    sample.write_text(SAMPLE)
    found, printed = find_errors(tmp_path, sample)
    assert found == list_wrong("sample", SAMPLE), printed


@at_night
def test_mypy_keeps_facts_in_store(tmp_path: Path) -> None:
    """Mypy reports each statement on a table of facts, except in `store` and `fold`."""
    samples = []
    for room in ("findings", "fold", "store"):
        samples.append(tmp_path / "collector" / "otel_ml_collector" / room / f"in_{room}.py")
        samples[-1].parent.mkdir(parents=True)
        samples[-1].write_text(FACTS)
    found, printed = find_errors(tmp_path, *samples)
    assert found == list_wrong("in_findings", FACTS), printed


@at_night
def test_sql_is_only_called() -> None:
    """The collector never passes `Sql` as an argument, where mypy would not see its calls."""
    found = []
    for path in (ROOT / "collector/otel_ml_collector").rglob("*.py"):
        tree = ast.parse(path.read_text())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        given = [part for call in calls for part in (*call.args, *(k.value for k in call.keywords))]
        found += [path for part in given if isinstance(part, ast.Name) and part.id == "Sql"]
    assert [path for path in found if path.name != "sql.py"] == []


def test_lint_that_finds_injection_is_on() -> None:
    """Ruff's check for SQL injection is on in every file, without exceptions."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    in_files = settings["per-file-ignores"].values()
    left_out = [*settings["ignore"], *(rule for rules in in_files for rule in rules)]
    assert "S" in settings["select"]
    assert [rule for rule in left_out if rule in {"S", "S6", "S60", "S608"}] == []
    ours = ("collector", "docs", "examples", "otel_ml", "tests")
    files = [path for folder in ours for path in (ROOT / folder).rglob("*.py")]
    assert [path for path in files if re.search(r"noqa:[^#]*S608", path.read_text())] == []


def test_one_file_declares() -> None:
    """Only `sql.py` and `tables.py` make SQL from text, for the statements that create tables."""
    files = (ROOT / "collector/otel_ml_collector").rglob("*.py")
    found = {path.name for path in files if re.search(r"\b(declare|_trust)\(", path.read_text())}
    assert found == {"sql.py", "tables.py"}


def test_pieces_stand_for_names() -> None:
    """Each name is replaced by its piece; parameters stay unchanged."""
    sql = Sql("SELECT {columns}, {columns} FROM runs WHERE a = {a:String} LIMIT {most}")
    assert sql.fill(columns=Sql("{b:Int64}"), most=3) == (
        "SELECT {b:Int64}, {b:Int64} FROM runs WHERE a = {a:String} LIMIT 3"
    )


def test_pieces_are_joined() -> None:
    """Joining or adding pieces gives SQL again."""
    both = join_sql(" OR ", [Sql("a"), Sql("b") + Sql("c")])
    assert (both, type(both)) == ("a OR bc", Sql)


@pytest.mark.parametrize("parts", [{}, {"a": Sql("1"), "b": Sql("2")}, {"a": "1"}])
def test_wrong_pieces_are_refused(parts: dict[str, Sql]) -> None:
    """A missing piece, a superfluous piece and plain text are refused."""
    with pytest.raises(TypeError):
        Sql("SELECT {a}").fill(**parts)


@pytest.mark.parametrize("name", ["runs; DROP TABLE runs", "other", ""])
def test_unknown_names_are_refused(name: str) -> None:
    """A table or column that is not declared is refused as an identifier."""
    with pytest.raises(ValueError, match="Unknown identifier"):
        identifier(name, {"runs", "runs; DROP TABLE runs"})


@pytest.mark.parametrize("name", ["f1:String} OR {f2", ""])
def test_wrong_names_of_parameters_are_refused(name: str) -> None:
    """Text that would end a parameter is refused as its name."""
    with pytest.raises(ValueError, match="Invalid name of a parameter"):
        parameter(name, "String")


def test_short_list() -> None:
    """A short list stays one parameter."""
    values = {"wanted": ["a"] * 100, "name": "x" * 200_000}
    assert split_long_values(WANTED, values) == (WANTED, values)


def test_long_list(store: Store) -> None:
    """A long list is split into several parameters below the size limit, with the same result."""
    wanted = [f"{number:049}" for number in range(10_000)]
    _, split = split_long_values(WANTED, {"wanted": wanted})
    assert len(split) > 1
    assert all(len(str(part)) < 128 * 1024 for part in split.values())
    assert store.reader.rows(WANTED, {"wanted": wanted}) == [{"one": wanted, "size": 10_000}]


def test_characters_that_are_escaped() -> None:
    """Text that grows when it is escaped is split into smaller parameters."""
    _, split = split_long_values(WANTED, {"wanted": ["ü'\\"] * 30_000})
    assert all(len(part) * 12 < 128 * 1024 for part in split.values())
