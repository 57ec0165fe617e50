"""Digests that must be the same on every Python version and in every release.

Any Python with orjson can check them, in the root of the repository: ``python -m
tests.process.otel_ml.versions.golden_digests``.
"""

import sys
from operator import attrgetter
from typing import Final

from otel_ml.versions.definition import define
from tests.process.otel_ml.versions import golden_sources

# Recorded once; Python 3.10, 3.11, 3.12 and 3.13 gave the same digests.
DIGESTS: Final = {
    "plain": "c924f17ad064bad4",
    "texts": "51a029a652edd075",
    "comprehensions": "1b32c183d5e714cc",
    "matches": "ada10fdddf82ebf8",
    "lambdas": "b8d30e05fc198768",
    "streams": "929241fe026fafab",
    "classes": "eae00be61b76707f",
    "parameters": "05c5482402e957ce",
    "statements": "b51640f7bb6c3b3d",
    "decorated": "93871183552ce1b3",
    "chained": "123ffcfa8e6f0c66",
    "newest": "cbc17e01bcefa99b",
    "Model.method": "93bba53a59d8976e",
    "Asking.ask": "a59824c26f2ae394",
    "documented": "8b9571e76b1dc696",
    "undocumented": "8b9571e76b1dc696",
    "written": "4247eeaabedb7792",
    "values": "5fb070cba106e232",
    "objects": "cf23edfcdfc7f65b",
}


def differences() -> list[str]:
    """Return descriptions of the functions whose digest differs from the recorded one."""
    found = {name: define(attrgetter(name)(golden_sources)) for name in DIGESTS}
    return [
        f"{name}: {'no source' if one.source is None else one.digest}, not {DIGESTS[name]}"
        for name, one in found.items()
        if one.source is None or one.digest != DIGESTS[name]
    ]


if __name__ == "__main__":
    sys.exit("\n".join(differences()) or None)
