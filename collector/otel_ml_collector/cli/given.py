"""What the command line says of the settings, the same for each command that reads them."""

import argparse
from collections.abc import Container
from pathlib import Path

from otel_ml_collector.config import DEFAULT_FILE, TABLE


def add_settings(parser: argparse.ArgumentParser, names: Container[str] | None = None) -> None:
    """Add a flag for the file and one for each setting, or for those that are named."""
    parser.add_argument("--config", metavar="FILE", help=f"TOML file [{DEFAULT_FILE}, if there]")
    for setting in TABLE:
        if names is not None and setting.name not in names:
            continue
        text = f"{setting.help} [{setting.default}]" if setting.default else setting.help
        if setting.is_switch:
            parser.add_argument(setting.flag, action="store_const", const="true", help=setting.help)
        else:
            parser.add_argument(setting.flag, metavar="VALUE", help=text)


def settings_of(flags: argparse.Namespace) -> dict[str, str | None]:
    """Return what the flags say, by the setting's name; None where one was not given."""
    return {setting.name: getattr(flags, setting.name, None) for setting in TABLE}


def file_of(flags: argparse.Namespace) -> Path | None:
    """Return the file that was named, None for none."""
    return Path(flags.config) if flags.config else None
