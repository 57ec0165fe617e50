"""Load settings from flags, ``OTEL_ML_*`` variables, ``otel-ml.toml`` and defaults.

The first of these sources that has a setting decides.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import tomllib

from otel_ml_collector.errors import BadSetting, suggest
from otel_ml_collector.settings.sign_on import find_sign_on_conflicts
from otel_ml_collector.settings.table import TABLE, Setting, Settings
from otel_ml_collector.settings.values import problem_of

DEFAULT_FILE: Final = "otel-ml.toml"
# Variables of the SDK. The collector does not warn about them.
SDK_VARIABLES: Final = (
    "OTEL_ML_API_KEY",
    "OTEL_ML_CAPTURE",
    "OTEL_ML_CAPTURE_HIDDEN",
    "OTEL_ML_CAPTURE_SOURCE",
    "OTEL_ML_ENDPOINT",
    "OTEL_ML_PROJECT",
    "OTEL_ML_TRACE",
    "OTEL_ML_INSTRUMENT",
)
_SOURCES: Final = ("default", "file", "variable", "flag")
_EMBEDDED: Final = "chdb://"
_KNOWN: Final = {setting.name: setting for setting in TABLE}
_KEY: Final = re.compile(r"""[ \t]*\[?[ \t]*["']?([A-Za-z0-9_-]+)["']?[ \t]*[.\]=]""")


@dataclass(frozen=True, slots=True)
class SettingText:
    """The text of a setting, before it is parsed.

    Attributes:
        setting: The setting.
        text: Value as text.
        source: ``default``, ``file``, ``variable`` or ``flag``.
        name: Name of the setting in that source, such as ``--http``.
        place: File and line; empty unless the source is a file.
    """

    setting: Setting
    text: str
    source: str
    name: str
    place: str = ""

    @property
    def shown(self) -> str:
        """Return the text without its secrets."""
        return self.setting.show(self.text)

    @property
    def origin(self) -> str:
        """Return the source of the value, such as ``variable OTEL_ML_HTTP``."""
        return "default" if self.source == "default" else f"{self.source} {self.place or self.name}"

    def problem(self, reason: object) -> str:
        """Return the error message for an invalid value."""
        place = f"{self.place}: " if self.place else ""
        return f"{place}Invalid {self.name} {self.shown!r}: {reason}"


def load(
    flags: Mapping[str, str | None], environment: Mapping[str, str], file: Path | None
) -> Settings:
    """Load and check all settings.

    Args:
        flags: Values of the command line by name of the setting; None if a flag was not given.
        environment: Environment variables of the process.
        file: TOML file that must exist, or None to read `DEFAULT_FILE` if it exists.

    Raises:
        BadSetting: A value, a key or the file is wrong. The message has one line per problem, with
            its place and the expected form.
    """
    chosen, problems = choose(flags, environment, file)
    values: dict[str, Any] = {}
    for name, value in chosen.items():
        try:
            values[name] = value.setting.read(value.text)
        except ValueError as error:
            problems.append(value.problem(error))
    problems += [chosen[name].problem(reason) for name, reason in _find_conflicts(values)]
    if problems:
        raise BadSetting("\n".join(problems))
    _choose_store(values, chosen)
    return Settings(**values)


def choose(
    flags: Mapping[str, str | None], environment: Mapping[str, str], file: Path | None
) -> tuple[dict[str, SettingText], list[str]]:
    """Choose the source of each setting.

    Args:
        flags: Values of the command line by name of the setting; None if a flag was not given.
        environment: Environment variables of the process. An empty value counts as unset.
        file: TOML file that must exist, or None to read `DEFAULT_FILE` if it exists.

    Returns:
        The text of each setting by name, and one message per invalid key of the file.

    Raises:
        BadSetting: The file cannot be read.
    """
    path = file or Path(DEFAULT_FILE)
    content, places = _read_file(path) if file or path.is_file() else ({}, {})
    problems = []
    for key, value in tuple(content.items()):
        if wrong := _find_fault(key, value):
            problems.append(f"{places[key]}: {wrong}")
            del content[key]
    chosen = {}
    for setting in TABLE:
        name, flag = setting.name, flags.get(setting.name)
        if flag is not None:
            chosen[name] = SettingText(setting, flag, "flag", setting.flag)
        elif text := environment.get(setting.variable):  # empty means unset, as in OpenTelemetry
            chosen[name] = SettingText(setting, text, "variable", setting.variable)
        elif name in content:
            chosen[name] = SettingText(setting, _as_text(content[name]), "file", name, places[name])
        else:
            default = f"default of {setting.flag}"
            chosen[name] = SettingText(setting, setting.default, "default", default)
    return chosen, problems


def warnings_of(environment: Mapping[str, str]) -> list[str]:
    """Return a warning for each unknown variable that starts with ``OTEL_ML_``."""
    known = (*(setting.variable for setting in TABLE), *SDK_VARIABLES)
    return [
        f"Unknown variable {name}: {suggest(name, known)}"
        for name in sorted(environment)
        if name.startswith("OTEL_ML_") and name not in known
    ]


def _find_conflicts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find settings that contradict each other; yields the name and what is expected."""
    if {"tls_cert", "tls_key"} <= values.keys():
        cert, key = values["tls_cert"], values["tls_key"]
        if cert and key:
            reason = problem_of(cert, key)
        else:
            reason = f"expected tls_{'key' if cert else 'cert'} too" if cert or key else ""
        if reason:
            yield "tls_cert" if cert else "tls_key", reason
    yield from find_sign_on_conflicts(values)
    listeners = [values[name] for name in ("http", "grpc") if name in values]
    for target in values.get("forward_otlp", ()):
        if any(target.is_at(listener) for listener in listeners):
            reason = f"{target.name} is this collector itself: expected the address of another one"
            yield "forward_otlp", reason


def _choose_store(values: dict[str, Any], chosen: Mapping[str, SettingText]) -> None:
    """Keep either ``store`` or ``data_dir``, whichever comes from the stronger source.

    Flags are the strongest source, then variables, the file and defaults.

    Raises:
        BadSetting: ``collector_name`` is missing, although records are forwarded from a
            ClickHouse server.
    """
    items = [_SOURCES.index(chosen[name].source) for name in ("store", "data_dir")]
    if not values["store"] or items[0] < items[1]:
        values["store"] = f"{_EMBEDDED}{quote(str(values['data_dir']))}"
    if values["store"].startswith(_EMBEDDED):
        values["data_dir"] = Path(unquote(values["store"].removeprefix(_EMBEDDED)))
        values["collector_name"] = ""  # an embedded store has only one collector
        return
    values["data_dir"] = None
    if (
        values["forward_records"] and not values["collector_name"]
    ):  # no default, because a host name can change
        raise BadSetting(
            "forward_records with a ClickHouse server: expected a collector_name that no other "
            "collector of that server has and that never changes"
        )


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a TOML file.

    Returns:
        The values by key, and the place of each key as ``file:line``.

    Raises:
        BadSetting: The file cannot be read or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSetting(f"The file {path} cannot be read: {error}") from error
    places = dict.fromkeys(content, str(path))
    for number, line in reversed(list(enumerate(text.splitlines(), start=1))):
        if (match := _KEY.match(line)) and match[1] in places:
            places[match[1]] = f"{path}:{number}"
    return content, places


def _find_fault(key: str, value: object) -> str:
    """Return what is wrong with a key of the file or the type of its value; empty if nothing is."""
    setting = _KNOWN.get(key)
    if setting is None:
        return f"Unknown key {key!r}: {suggest(key, _KNOWN)}"
    if isinstance(value, list):
        is_right = setting.takes_many and all(isinstance(item, str) for item in value)
        is_right = is_right or (
            setting.takes_tables and all(isinstance(item, dict) for item in value)
        )
    elif isinstance(value, dict):
        is_right = setting.takes_table
    else:
        is_right = isinstance(value, str | int | float)
    if is_right:
        return ""
    expected = "one value or a list of them" if setting.takes_many else "one value"
    expected = "a table" if setting.takes_table else expected
    return f"Invalid {key} {_show_unusable(setting, value)}: expected {expected}"


def _show_unusable(setting: Setting, value: object) -> str:
    """Return a value of the wrong type without its secrets. Any part of a table can be one."""
    if isinstance(value, dict):
        return "(a table)"
    if not isinstance(value, list):
        return repr(value)
    if any(isinstance(item, dict | list) for item in value):
        return "(a list with tables or lists)"
    return repr([setting.show(item) if isinstance(item, str) else item for item in value])


def _as_text(value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if isinstance(value, list | dict):
        return json.dumps(value, default=str)
    return str(value).lower() if isinstance(value, bool) else str(value)
