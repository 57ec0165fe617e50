"""Tests of settings: where they come from, and what is said of wrong ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml_collector.config import TABLE, Address, Settings, load
from otel_ml_collector.errors import BadSetting
from otel_ml_collector.store.connection import Connections

# A setting's name, how it reads in three sources, and the values that these mean.
SOURCES: Final[list[tuple[str, list[str], list[Any]]]] = [
    (
        "http",
        ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"],
        [Address("127.0.0.1", 1), Address("127.0.0.1", 2), Address("127.0.0.1", 3)],
    ),
    (
        "grpc",
        ["localhost:1", "localhost:2", "[::1]:3"],
        [Address("localhost", 1), Address("localhost", 2), Address("::1", 3)],
    ),
    (
        "store",
        ["clickhouse://a", "clickhouse://b", "clickhouse://c"],
        ["clickhouse://a", "clickhouse://b", "clickhouse://c"],
    ),
    ("data_dir", ["/flag", "/variable", "/file"], ["/flag", "/variable", "/file"]),
    ("allowed_hosts", ["a, B", "b", ""], [("a", "b"), ("b",), ()]),
    ("artifact_limit_bytes", ["1", "2147483647", "3"], [1, 2_147_483_647, 3]),
    ("log_level", ["DEBUG", "warning", "Error"], ["debug", "warning", "error"]),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, where no file of settings is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def flags(**given: str) -> dict[str, str | None]:
    return {setting.name: given.get(setting.name) for setting in TABLE}


def load_file(folder: Path, content: str) -> Settings:
    (folder / "otel-ml.toml").write_text(content)
    return load(flags(), {}, None)


def message_of(
    given: Mapping[str, str | None], environment: Mapping[str, str], file: Path | None = None
) -> str:
    with pytest.raises(BadSetting) as caught:
        load(given, environment, file)
    return str(caught.value)


def test_defaults(folder: Path) -> None:
    """Without a word the collector listens on loopback and keeps its store where it is."""
    assert load(flags(), {}, None) == Settings(
        http=Address("127.0.0.1", 4318),
        grpc=Address("127.0.0.1", 4317),
        store=f"chdb://{folder}/otel-ml-data",
        insecure=False,
        allowed_hosts=(),
        artifact_limit_bytes=100_663_296,
        log_level="info",
    )


@pytest.mark.parametrize(("name", "texts", "values"), SOURCES, ids=[row[0] for row in SOURCES])
def test_precedence(folder: Path, name: str, texts: list[str], values: list[Any]) -> None:
    """A flag stands over a variable, and a variable over the file."""
    (folder / "otel-ml.toml").write_text(f'{name} = "{texts[2]}"')
    variable = {f"OTEL_ML_{name.upper()}": texts[1]}
    found = [
        load(flags(**{name: texts[0]}), variable, None),
        load(flags(), variable, None),
        load(flags(), {}, None),
    ]
    if name == "data_dir":
        assert [settings.store for settings in found] == [f"chdb://{value}" for value in values]
    else:
        assert [getattr(settings, name) for settings in found] == values


@pytest.mark.parametrize(
    ("given", "environment", "store"),
    [
        ({"store": "clickhouse://a"}, {}, "clickhouse://a"),
        ({}, {"OTEL_ML_STORE": "clickhouse://a"}, "clickhouse://a"),
        ({"data_dir": "/d"}, {"OTEL_ML_STORE": "clickhouse://a"}, "chdb:///d"),
        ({"store": "clickhouse://a"}, {"OTEL_ML_DATA_DIR": "/d"}, "clickhouse://a"),
        ({"store": "clickhouse://a", "data_dir": "/d"}, {}, "clickhouse://a"),
    ],
)
def test_store_or_folder(given: dict[str, str], environment: dict[str, str], store: str) -> None:
    """Of a store and a folder the one that is said closer to the start counts."""
    assert load(flags(**given), environment, None).store == store


@pytest.mark.parametrize("name", ["a folder", "100%", "a%41", "#1", "ü"])
def test_folder_of_any_name(folder: Path, name: str) -> None:
    """The store of a folder is opened in that folder, whatever its name is."""
    settings = load(flags(data_dir=str(folder / name)), {}, None)
    Connections(settings.store).close()
    assert [path.name for path in folder.iterdir()] == [name]


def test_file(folder: Path) -> None:
    """A file gives every setting, lists and switches in its own words."""
    settings = load_file(
        folder,
        """
        http = "0.0.0.0:80"
        data_dir = "/data"
        insecure = true
        allowed_hosts = ["otel.example", "OTHER.example"]
        """,
    )
    assert (settings.http, settings.store) == (Address("0.0.0.0", 80), "chdb:///data")  # noqa: S104
    assert (settings.insecure, settings.allowed_hosts) == (True, ("otel.example", "other.example"))


def test_named_file(folder: Path) -> None:
    """A file that is named is read instead of the one that is there."""
    (folder / "otel-ml.toml").write_text('log_level = "error"')
    (folder / "other.toml").write_text('log_level = "debug"')
    assert load(flags(), {}, folder / "other.toml").log_level == "debug"


@pytest.mark.parametrize("text", ["true", "TRUE", "1"])
def test_switch_on(text: str) -> None:
    """A switch is on by true or 1."""
    assert load(flags(), {"OTEL_ML_INSECURE": text}, None).insecure is True


def test_empty_variable_is_unset() -> None:
    """A variable that is empty counts as one that is not there."""
    assert load(flags(), {"OTEL_ML_HTTP": ""}, None).http == Address("127.0.0.1", 4318)


@pytest.mark.parametrize("text", ["false", "False", "0"])
def test_switch_off(text: str) -> None:
    """A switch is off by false or 0."""
    assert load(flags(), {"OTEL_ML_INSECURE": text}, None).insecure is False


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        *[
            ("http", text, "expected HOST:PORT with a port from 0 to 65535")
            for text in ("4318", "localhost", ":4318", "localhost:", "localhost:65536", "h:-1")
        ],
        ("grpc", "h:http", "expected HOST:PORT with a port from 0 to 65535"),
        ("http", "http://localhost:4318", "expected HOST:PORT with a port from 0 to 65535"),
        ("insecure", "yes", "expected true or false"),
        ("log_level", "loud", "expected one of debug, info, warning, error"),
    ],
)
def test_bad_value(folder: Path, name: str, text: str, expected: str) -> None:
    """A wrong value is told with its source, itself and what would be right."""
    flag, variable = f"--{name.replace('_', '-')}", f"OTEL_ML_{name.upper()}"
    assert message_of(flags(**{name: text}), {}) == f"Invalid {flag} {text!r}: {expected}"
    assert message_of(flags(), {variable: text}) == f"Invalid {variable} {text!r}: {expected}"
    (folder / "otel-ml.toml").write_text(f'{name} = "{text}"')
    assert message_of(flags(), {}) == f"Invalid {name} in the file {text!r}: {expected}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("colour = 3", "Unknown key 'colour' in otel-ml.toml: expected one of allowed_hosts, "),
        ("http =", "The file otel-ml.toml cannot be read: "),
        ("\udcff", "The file otel-ml.toml cannot be read: "),
        ("http = 4318", "Invalid http in the file '4318': expected HOST:PORT"),
        ("[http]\nhost = 'a'", "Invalid http in the file "),
        ("[data_dir]\npath = 'a'", "Invalid data_dir in the file "),
    ],
)
def test_bad_file(folder: Path, content: str, message: str) -> None:
    """A file that is wrong is told with what is wrong in it."""
    (folder / "otel-ml.toml").write_bytes(content.encode(errors="surrogateescape"))
    assert message_of(flags(), {}).startswith(message)


def test_missing_file(folder: Path) -> None:
    """A file that is named must be there."""
    file = folder / "missing.toml"
    assert message_of(flags(), {}, file).startswith(f"The file {file} cannot be read: ")


@pytest.mark.parametrize("name", ["http", "grpc"])
@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:4318", "192.168.0.1:4318", "otel.example:4318", "[::]:4318", "[2001:db8::1]:1"],
)
def test_beyond_loopback(name: str, address: str) -> None:
    """Listening beyond loopback is refused with what would be right."""
    assert message_of(flags(**{name: address}), {}) == (
        f"Listening at {address} would let anyone who reaches it read and write: "
        "listen at 127.0.0.1, or say --insecure"
    )


def test_insecure() -> None:
    """Listening beyond loopback is done when it is said twice."""
    settings = load(flags(http="0.0.0.0:4318", insecure="true"), {}, None)
    assert settings.http == Address("0.0.0.0", 4318)  # noqa: S104


@pytest.mark.parametrize(
    ("text", "address", "is_loopback"),
    [
        ("127.0.0.1:0", Address("127.0.0.1", 0), True),
        ("127.8.8.8:1", Address("127.8.8.8", 1), True),
        ("localhost:65535", Address("localhost", 65_535), True),
        ("[::1]:4318", Address("::1", 4318), True),
    ],
)
def test_address(text: str, address: Address, is_loopback: bool) -> None:
    """An address is read, also an IPv6 one in brackets, and written as it was."""
    found = load(flags(http=text), {}, None).http
    assert (found, str(found), found.is_loopback) == (address, text, is_loopback)


def test_names() -> None:
    """A setting is called alike as flag and as variable."""
    assert [(setting.flag, setting.variable) for setting in TABLE] == [
        ("--data-dir", "OTEL_ML_DATA_DIR"),
        ("--http", "OTEL_ML_HTTP"),
        ("--grpc", "OTEL_ML_GRPC"),
        ("--store", "OTEL_ML_STORE"),
        ("--allowed-hosts", "OTEL_ML_ALLOWED_HOSTS"),
        ("--insecure", "OTEL_ML_INSECURE"),
        ("--artifact-limit-bytes", "OTEL_ML_ARTIFACT_LIMIT_BYTES"),
        ("--log-level", "OTEL_ML_LOG_LEVEL"),
    ]
