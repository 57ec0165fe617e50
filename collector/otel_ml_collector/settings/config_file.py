"""Reads a TOML file of settings, and tells on which line each key stands."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomllib

from otel_ml_collector.errors import BadSetting

_KEY: Final = re.compile(r"""[ \t]*\[?[ \t]*["']?([A-Za-z0-9_-]+)["']?[ \t]*[.\]=]""")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a file says.

    Attributes:
        path: Where it is, as it was named.
        content: Its values by key.
        lines: On which line a key stands first, counted from 1.
    """

    path: Path
    content: dict[str, Any]
    lines: dict[str, int]

    def place_of(self, key: str) -> str:
        """Name the place of a key as compilers do: ``otel-ml.toml:3``."""
        line = self.lines.get(key)
        return f"{self.path}:{line}" if line else str(self.path)


def read_config_file(path: Path) -> ConfigFile:
    """Read a file.

    Raises:
        BadSetting: It cannot be read, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSetting(f"The file {path} cannot be read: {error}") from error
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _KEY.match(line):
            lines.setdefault(match[1], number)
    return ConfigFile(path, content, {key: lines[key] for key in content if key in lines})
