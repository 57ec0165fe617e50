"""What can be seen on this machine: versions, variables, proxies, settings, free disk, ports."""

import os
import platform
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from otel_ml_collector.cli.doctor.finding import Finding
from otel_ml_collector.errors import BadSetting
from otel_ml_collector.settings.sources import load, warnings_of
from otel_ml_collector.settings.values import Address, hide_password

_PACKAGES: Final = ("opentelemetry-sdk", "chdb", "grpcio")
_SECRET_WORDS: Final = ("KEY", "HEADERS", "TOKEN", "SECRET", "PASSWORD")
_NO_SECRETS: Final = ("CLIENT_KEY",)  # the path of a file
_TIGHT: Final = 4
_REACH_S: Final = 2.0
# Of https://docs.kernel.org/networking/proc_net_tcp.html
_LISTENS: Final = "0A"
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def find_versions() -> Iterator[Finding]:
    """Name what runs here."""
    packages = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    python = platform.python_version()
    yield Finding("ok", "versions", f"otel-ml {_version('otel-ml')}, Python {python}, {packages}")


def find_variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Name the variables in force, and those that do nothing."""
    names = sorted(name for name in environment if name.startswith("OTEL_") and environment[name])
    shown = ", ".join(f"{name}={_hide(name, environment[name])}" for name in names)
    yield Finding("ok", "variables", f"Variables in force: {shown or 'none'}")
    for text in warnings_of(environment):
        what, _, todo = text.partition(": ")
        yield Finding("warn", "variables", what, todo)
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        todo = "unset it, unless that is what you want"
        yield Finding("warn", "variables", "OTEL_SDK_DISABLED=true: nothing is recorded", todo)
    if environment.get("OTEL_TRACES_SAMPLER", "").endswith("always_off"):
        todo = "unset it, unless that is what you want"
        yield Finding("warn", "variables", "OTEL_TRACES_SAMPLER records nothing", todo)


def proxy_of(page: str) -> str:
    """Find the proxy that requests to an address go through, as the SDK does; empty for none."""
    parts, proxies = urlsplit(page), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    return "" if proxy_bypass(parts.netloc) else proxy


def find_proxy(page: str) -> Iterator[Finding]:
    """Tell whether requests to an address go through a proxy."""
    proxy, host = proxy_of(page), urlsplit(page).hostname or ""
    if not proxy:
        yield Finding("ok", "proxy", f"No proxy between here and {host}")
    elif Address(host, 0).is_loopback:
        text = f"Requests to this very machine go through the proxy {hide_password(proxy)}"
        yield Finding("warn", "proxy", text, f"set NO_PROXY={host}")
    else:
        yield Finding("ok", "proxy", f"Requests go through the proxy {hide_password(proxy)}")


def find_disk(page: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look at the settings of a collector of this machine, and at the disk of its data."""
    if not Address(urlsplit(page).hostname or "", 0).is_loopback:
        return
    try:
        settings = load({}, environment, None)
    except BadSetting as error:
        for line in str(error).splitlines():
            yield Finding("fail", "settings", line, "mend it, then ask `otel-ml check`")
        return
    folder = settings.data_dir
    if folder is None or not folder.is_dir():
        return
    free, least = shutil.disk_usage(folder).free, settings.min_free_disk_bytes
    text = f"{free / 2**30:.1f} GiB free for the data directory {folder}"
    if free < least:
        yield Finding("fail", "disk", text, f"make room: nothing is taken below {least} bytes")
    elif free < _TIGHT * least or not os.access(folder, os.W_OK):
        todo = "make room soon" if os.access(folder, os.W_OK) else "make it writable for who serves"
        yield Finding("warn", "disk", text, todo)
    else:
        yield Finding("ok", "disk", text)


def find_targets(page: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look whether the targets can be reached that a collector of this machine forwards to."""
    if not Address(urlsplit(page).hostname or "", 0).is_loopback:
        return
    try:
        settings = load({}, environment, None)
    except BadSetting:  # told with the disk
        return
    for target in settings.forward_otlp:
        text = f"OTLP is forwarded to {target.name} at {target.address}"
        try:
            socket.create_connection((target.address.host, target.address.port), _REACH_S).close()
        except OSError as error:
            todo = "start it, or mend forward_otlp; until then requests wait or are dropped"
            yield Finding("warn", "forward", f"{text}, which does not answer: {error}", todo)
        else:
            yield Finding("ok", "forward", text)


def find_listener(port: int) -> str:
    """Name the process that listens at a port: ``jaeger (process 41)``; empty when none is seen.

    Those of other users are seen by the administrator alone.
    """
    sockets = {f"socket:[{inode}]" for table in _TABLES for inode in _listening(table, port)}
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        with suppress(OSError):  # it has ended, or is not ours to see
            if any(_target(file) in sockets for file in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return f"{name} (process {process.name})"
    return ""


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:  # it was closed meanwhile
        return ""


def _listening(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:  # not Linux
        return []
    return [
        row[9] for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _hide(name: str, value: str) -> str:
    is_secret = any(word in name for word in _SECRET_WORDS)
    return "***" if is_secret and not name.endswith(_NO_SECRETS) else hide_password(value)
