"""Options of commands that are collector settings, and values built from several options."""

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
    """The settings that the command line gives.

    Attributes:
        texts: The text of each setting, by its name; None if the option was not given.
        file: The file named by ``--config``; None if the option was not given.
    """

    texts: dict[str, str | None]
    file: Path | None

    def load(self) -> Settings:
        """Return the settings. Options override environment variables, and these override the file.

        Raises:
            BadSetting: A setting is invalid.
        """
        return load(self.texts, os.environ, self.file)

    def choose(self) -> dict[str, SettingText]:
        """Return the text of each setting and its source."""
        return choose(self.texts, os.environ, self.file)[0]


def taking(
    options: list[Command], names: Container[str], made: str, make: Callable[[dict[str, Any]], Any]
) -> Callable[[Command], Command]:
    """Add options to a command and pass their values as one argument.

    Args:
        options: The options, in the order of the help.
        names: The parameter names of the options.
        made: The name of the argument that the command receives.
        make: Builds the argument from the values, by parameter name.

    Returns:
        A decorator for the command's function.
    """

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
    """Return ``--config`` and an option for each named setting."""
    text = f"TOML file with settings [{DEFAULT_FILE}, if it exists]"
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
    """Return the settings from the values of the options that `setting_options` returns."""
    texts = {setting.name: taken.get(setting.name) for setting in TABLE}
    return Flags(texts, Path(taken["config"]) if taken["config"] else None)


def with_settings(*named: str) -> Callable[[Command], Command]:
    """Add options for the named settings (default: all) and pass them as ``flags``, a `Flags`."""
    names = named or tuple(setting.name for setting in TABLE)
    return taking(setting_options(names), {*names, "config"}, "flags", flags_of)
