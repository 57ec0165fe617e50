"""Options of commands that are settings of the collector, and values made of several options."""

import functools
import os
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from otel_ml_collector.settings.sources import DEFAULT_FILE, SettingText, choose, load
from otel_ml_collector.settings.table import TABLE, Settings

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Flags:
    """The settings given on the command line."""

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


def taking(
    options: list[Command], names: Container[str], made: str, make: Callable[[dict[str, Any]], Any]
) -> Callable[[Command], Command]:
    """Add options to a command; it gets a single value made from them."""

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def run(**flags: Any) -> Any:
            taken = {name: flags.pop(name) for name in tuple(flags) if name in names}
            return command(**{made: make(taken)}, **flags)

        for option in reversed(options):
            run = option(run)
        return run

    return add


def setting_options(names: Container[str]) -> list[Command]:
    """Make the options of some settings, and of the file that they may stand in."""
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


def flags_of(taken: dict[str, Any]) -> Flags:
    """Return the settings of the command line, as `setting_options` took them."""
    texts = {setting.name: taken.get(setting.name) for setting in TABLE}
    return Flags(texts, Path(taken["config"]) if taken["config"] else None)


def with_settings(*named: str) -> Callable[[Command], Command]:
    """Give a command `Flags`, of all settings or of those that are named, as ``flags``."""
    names = named or tuple(setting.name for setting in TABLE)
    return taking(setting_options(names), {*names, "config"}, "flags", flags_of)
