"""Functions of Python's standard library have stable version digests."""

from pathlib import Path
from typing import Final

from tests.support.otel_ml.scripts import ask_script

SCRIPT: Final = """
    import argparse, collections, configparser, contextlib, dataclasses, functools, json
    import json.decoder, json.encoder, re, statistics, string, textwrap

    from otel_ml.versions.definition import define

    def functions(holder, module):
        for member in vars(holder).values():
            if isinstance(member, type) and member.__module__ == module:
                yield from functions(member, module)
            elif getattr(member, "__module__", None) == module:
                yield member

    modules = [
        argparse, collections, contextlib, dataclasses, functools, json, json.decoder, json.encoder,
        configparser, re, statistics, string, textwrap,
    ]
    found = {}
    for module in modules:
        for function in functions(module, module.__name__):
            definition = define(function)
            name = f"{module.__name__}.{getattr(function, '__qualname__', type(function).__name__)}"
            found[name] = [definition.digest, definition.source is not None]
    print(json.dumps(found))
"""


def test_library_has_the_same_digests_in_each_process(tmp_path: Path) -> None:
    """Hundreds of functions have digests that do not depend on the order of sets."""
    first, second = (ask_script(tmp_path, SCRIPT, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert first == second
    with_source = [name for name, (_, is_source) in first.items() if is_source]
    assert len(with_source) > 300
    # Functions in C, and functions generated without source, are identified by name only.
    assert len(first) - len(with_source) < len(first) // 10
