"""The options that commands share, each declared once, and what they say when they are read."""

import functools
import os
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from otel_ml_collector.cli.place import PlaceOptions
from otel_ml_collector.errors import BadSetting
from otel_ml_collector.settings.sources import DEFAULT_FILE, SettingText, choose, load
from otel_ml_collector.settings.table import TABLE, Settings

FORMATS: Final = ("table", "json", "csv", "parquet")
_PLACES: Final = ("data_dir", "store", "http")

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says of the settings."""

    texts: dict[str, str | None]
    file: Path | None

    def load(self) -> Settings:
        """Read the settings: flags over variables over the file.

        Raises:
            BadSetting: One of them is wrong.
        """
        return load(self.texts, os.environ, self.file)

    def choose(self) -> dict[str, SettingText]:
        """Find which source says each setting."""
        return choose(self.texts, os.environ, self.file)[0]


@dataclass(frozen=True, slots=True)
class Within:
    """Which runs are meant."""

    where: str
    start: str | None
    end: str | None

    def __bool__(self) -> bool:
        """Whether any are left out."""
        return bool(self.where or self.start or self.end)


@dataclass(frozen=True, slots=True)
class Layout:
    """How records are shown.

    Attributes:
        kind: table, json, csv or parquet.
        columns: Which, in which order; empty for the usual ones.
    """

    kind: str
    columns: tuple[str, ...]


def _taking(
    options: list[Command], names: Container[str], made: str, make: Callable[[dict[str, Any]], Any]
) -> Callable[[Command], Command]:
    """Add options to a command, which is given one value that is made of them."""

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def run(**flags: Any) -> Any:
            taken = {name: flags.pop(name) for name in tuple(flags) if name in names}
            return command(**{made: make(taken)}, **flags)

        for option in reversed(options):
            run = option(run)
        return run

    return add


def _setting_options(names: Container[str]) -> list[Command]:
    text = f"TOML file [{DEFAULT_FILE}, if there]"
    options: list[Command] = [click.option("--config", metavar="FILE", help=text)]
    for setting in TABLE:
        if setting.name not in names:
            continue
        text = f"{setting.help} [{setting.default}]" if setting.default else setting.help
        if setting.is_switch:
            options.append(
                click.option(setting.flag, setting.name, flag_value="true", help=setting.help)
            )
        else:
            options.append(click.option(setting.flag, setting.name, metavar="VALUE", help=text))
    return options


def _flags_of(taken: dict[str, Any]) -> Flags:
    texts = {setting.name: taken.get(setting.name) for setting in TABLE}
    return Flags(texts, Path(taken["config"]) if taken["config"] else None)


def with_settings(*named: str) -> Callable[[Command], Command]:
    """Give a command `Flags`, of all settings or of those that are named, as ``flags``."""
    names = named or tuple(setting.name for setting in TABLE)
    return _taking(_setting_options(names), {*names, "config"}, "flags", _flags_of)


def with_place(command: Command) -> Command:
    """Give a command where it works, as ``asked``; it is opened by `PlaceOptions.open`."""
    options: list[Command] = [
        click.option(
            "--endpoint",
            metavar="URL",
            help="collector to ask, and nothing else [OTEL_ML_ENDPOINT, then --http]",
        ),
        click.option(
            "--api-key-file", metavar="FILE", help="file that holds the key [OTEL_ML_API_KEY]"
        ),
        *_setting_options(_PLACES),
    ]

    def make(taken: dict[str, Any]) -> PlaceOptions:
        flags = _flags_of(taken)
        return PlaceOptions(
            flags.load(), flags.choose(), bool(flags.file), taken["endpoint"], taken["api_key_file"]
        )

    names = {*_PLACES, "config", "endpoint", "api_key_file"}
    return _taking(options, names, "asked", make)(command)


def with_project(command: Command) -> Command:
    """Give a command the project that is meant, as ``project``."""

    def read(context: click.Context, option: click.Parameter, text: str | None) -> str:
        project = text or os.environ.get("OTEL_ML_PROJECT")
        if not project:
            raise BadSetting("Say which project with --project P, or OTEL_ML_PROJECT")
        return project

    option = click.option("--project", metavar="P", callback=read, help="[OTEL_ML_PROJECT]")
    return option(command)


def with_filter(command: Command) -> Command:
    """Give a command which runs are meant, as ``within``."""
    options: list[Command] = [
        click.option(
            "--where", metavar="EXPR", default="", help="such as 'latency > 1s and not cached'"
        ),
        click.option("--start", metavar="TIME", help="started then or later, such as 2026-11-20"),
        click.option("--end", metavar="TIME", help="started before then, UTC without an offset"),
    ]
    return _taking(options, {"where", "start", "end"}, "within", lambda taken: Within(**taken))(
        command
    )


def with_form(command: Command) -> Command:
    """Give a command how records are shown, as ``form``."""
    options: list[Command] = [
        click.option("--format", "kind", type=click.Choice(FORMATS), default="table"),
        click.option("--json", "kind", flag_value="json", help="the same as --format json"),
        click.option("--columns", metavar="A,B", default="", help="these, in this order"),
    ]

    def make(taken: dict[str, Any]) -> Layout:
        return Layout(taken["kind"], tuple(split_columns(taken["columns"])))

    return _taking(options, {"kind", "columns"}, "form", make)(command)


def split_columns(text: str) -> list[str]:
    """Cut a list of names at its commas, but for those within quotes or brackets."""
    parts, depth, quote = [""], 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        depth += (char in "([") - (char in ")]") if not quote else 0
        if char == "," and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]
