"""Typical changes to the code of models: sources with one edit each, and the expected versions.

Each shape is a package ``shop``. Its first module defines ``model`` and optionally ``ARGUMENTS``, a
list of arguments for one call each. ``python -m tests.process.otel_ml.versions.shapes`` runs
packages in another process and prints the version of each call.
"""

# Sources of one line each are easier to compare.
# ruff: noqa: E501

import importlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client


@dataclass(frozen=True, slots=True)
class Shape:
    """A source and an edit of it.

    Attributes:
        name: A name for the tested change.
        source: The module that defines ``model``.
        old: The text that the edit replaces; empty if only the data varies.
        new: The replacement text.
        opens: Whether the edit creates a new version.
        versions: The maximum number of versions among the calls of one source.
        others: Further modules by path.
        needs: A library that the shape requires.
        commit: Whether each commit tests the shape.
    """

    name: str
    source: str
    old: str = ""
    new: str = ""
    opens: bool = True
    versions: int = 1
    others: dict[str, str] = field(default_factory=dict)
    needs: str = ""

    def files(self, *, edited: bool) -> dict[str, str]:
        """Return the text of each module by its path, unedited or edited."""
        texts = {"shop/model.py": self.source, **self.others}
        texts = {path: dedent(text).lstrip("\n") for path, text in texts.items()}
        if not edited or not self.old:
            return texts
        assert sum(text.count(self.old) for text in texts.values()) == 1, self.name
        return {path: text.replace(self.old, self.new) for path, text in texts.items()}


def _method(body: str, use: str, before: str = "") -> str:
    return f"{before}\nclass H:\n{body}\n\ndef model(a=1):\n    {use}\n"


SHAPES: Final = (
    # Values that the function refers to.
    Shape("dict", 'CFG = {"t": 1}\ndef model(a=1): return a * CFG["t"]\n', '"t": 1', '"t": 2'),
    Shape("dict, order", 'CFG = {"t": 1, "u": 2}\ndef model(a=1): return CFG["t"]\n', '"t": 1, "u": 2', '"u": 2, "t": 1', opens=False),
    Shape("dict of a class of its own", 'class Cfg(dict):\n    def __getattr__(self, name): return self[name]\nCFG = Cfg(t=1)\ndef model(a=1): return CFG.t\n', "t=1", "t=2"),
    Shape("nested dict", 'CFG = {"a": {"b": [1, {"c": 2}]}}\ndef model(a=1): return str(CFG)\n', '"c": 2', '"c": 3'),
    Shape("list", 'STOP = ["a", "b"]\ndef model(a=1): return STOP[0]\n', '"b"]', '"c"]'),
    Shape("list, order", 'STOP = ["a", "b"]\ndef model(a=1): return STOP[0]\n', '"a", "b"', '"b", "a"'),
    Shape("tuple of lists", 'RULES = (["a"], 1)\ndef model(a=1): return str(RULES)\n', '["a"]', '["b"]'),
    Shape("set", 'WORDS = {"a", "b"}\ndef model(a=1): return "a" in WORDS\n', '"b"}', '"c"}'),
    Shape("set, order", 'WORDS = {"a", "b"}\ndef model(a=1): return "a" in WORDS\n', '"a", "b"', '"b", "a"', opens=False),
    Shape("frozenset of tuples", 'PAIRS = frozenset([("a", 1)])\ndef model(a=1): return len(PAIRS)\n', '"a", 1', '"a", 2'),
    Shape("none and bytes", 'MARK = None\ndef model(a=1): return MARK is None\n', "MARK = None", 'MARK = b"x"'),
    Shape("secret in a dict", 'CFG = {"api_key": "sk-1", "t": 1}\ndef model(a=1): return CFG["t"]\n', "sk-1", "sk-2"),
    Shape("dict of another module", 'from shop.config import CFG\ndef model(a=1): return CFG["t"]\n', '"t": 1', '"t": 2', others={"shop/config.py": 'CFG = {"t": 1}\n'}),
    Shape("dict by its module", 'from shop import config\ndef model(a=1): return config.CFG["t"]\n', '"t": 1', '"t": 2', others={"shop/config.py": 'CFG = {"t": 1}\n'}),
    Shape("dict of a helper", 'CFG = {"t": 1}\ndef help(): return CFG["t"]\ndef model(a=1): return help()\n', '"t": 1', '"t": 2'),
    Shape("dict of a class", _method('    CFG = {"t": 1}', 'return H.CFG["t"]'), '"t": 1', '"t": 2'),
    Shape("dict in a closure", 'def make():\n    cfg = {"t": 1}\n    def model(a=1): return cfg["t"]\n    return model\nmodel = make()\n', '"t": 1', '"t": 2'),
    Shape("enum", 'import enum\nclass Tone(enum.Enum):\n    KIND = "kind"\n    RUDE = "rude"\ndef model(a=1): return Tone.KIND.value\n', '"kind"', '"nice"'),
    Shape("enum in a dict", 'import enum\nclass Tone(enum.Enum):\n    KIND = 1\n    RUDE = 2\nCFG = {"tone": Tone.KIND}\ndef model(a=1): return CFG["tone"].name\n', '"tone": Tone.KIND', '"tone": Tone.RUDE'),
    Shape("named tuple", 'from typing import NamedTuple\nclass Cfg(NamedTuple):\n    t: int = 1\n    u: int = 2\nCFG = Cfg(t=3)\ndef model(a=1): return CFG.t\n', "t=3", "t=4"),
    Shape("dataclass", 'from dataclasses import dataclass, field\n@dataclass\nclass Cfg:\n    t: int = 1\n    stop: list = field(default_factory=list)\nCFG = Cfg(t=3)\ndef model(a=1): return CFG.t\n', "t=3", "t=4"),
    Shape("dataclass with slots", 'from dataclasses import dataclass\nclass Cfg:\n    __slots__ = ("t",)\n    def __init__(self, t): self.t = t\nCFG = Cfg(3)\ndef model(a=1): return CFG.t\n', "Cfg(3)", "Cfg(4)"),
    Shape("dataclass in a dict", 'from dataclasses import dataclass\n@dataclass\nclass Cfg:\n    t: int\nALL = {"a": Cfg(1)}\ndef model(a=1): return ALL["a"].t\n', "Cfg(1)", "Cfg(2)"),
    Shape("field of a returned dataclass", 'from dataclasses import dataclass\n@dataclass\nclass Answer:\n    text: str\n    score: float = 0.5\ndef model(a=1): return Answer("a")\n', "score: float = 0.5", "score: float = 0.6"),
    Shape("namespace", 'from types import SimpleNamespace\nCFG = SimpleNamespace(t=1)\ndef model(a=1): return CFG.t\n', "t=1", "t=2"),
    Shape("pattern", 'import re\nWORD = re.compile("[a-z]+")\ndef model(a=1): return bool(WORD.match("a"))\n', "[a-z]+", "[A-Z]+"),
    Shape("partial", 'import functools\ndef scale(a, factor): return a * factor\ndouble = functools.partial(scale, factor=2)\ndef model(a=1): return double(a)\n', "factor=2", "factor=3"),
    Shape("functions in a dict", 'def one(a): return a + 1\ndef two(a): return a + 2\nSTEPS = {"one": one, "two": two}\ndef model(a=1): return STEPS["one"](a)\n', "a + 1", "a + 3"),
    Shape("functions in a list, order", 'def one(a): return a + 1\ndef two(a): return a * 2\nSTEPS = [one, two]\ndef model(a=1): return [step(a) for step in STEPS]\n', "[one, two]", "[two, one]"),
    Shape("pydantic settings", 'from pydantic import BaseModel\nclass Cfg(BaseModel):\n    t: int = 1\n    u: int = 1\nCFG = Cfg(u=5)\ndef model(a=1): return CFG.t\n', "u=5", "u=6", needs="pydantic"),
    Shape("array", 'import numpy\nWEIGHTS = numpy.array([1.0, 2.0])\ndef model(a=1): return float(WEIGHTS.sum())\n', "2.0]", "3.0]", needs="numpy"),
    Shape("long text in a list", f'SHOTS = ["{"x" * 20_000}", "y"]\ndef model(a=1): return SHOTS[1]\n', '"y"', '"z"'),
    # Classes and objects of the same package.
    Shape("method of a new object", _method("    def f(self, a): return a + 1", "return H().f(a)"), "a + 1", "a + 2"),
    Shape("method of a local object", _method("    def f(self, a): return a + 1", "h = H()\n    return h.f(a)"), "a + 1", "a + 2"),
    Shape("method of a made object", _method("    def f(self, a): return a + 1", "return make().f(a)", "def make(): return H()"), "a + 1", "a + 2"),
    Shape("method in another module", 'from shop.parts import H\ndef model(a=1): return H().f(a)\n', "a + 1", "a + 2", others={"shop/parts.py": "class H:\n    def f(self, a): return a + 1\n"}),
    Shape("method that a method calls", _method("    def f(self, a): return self.g(a)\n    def g(self, a): return a + 1", "return H().f(a)"), "a + 1", "a + 2"),
    Shape("method of a base", _method("    pass", "return K().f(a)", "class B:\n    def f(self, a): return a + 1\nclass K(B): pass"), "a + 1", "a + 2"),
    Shape("constructor", _method("    def __init__(self): self.t = 1\n    def f(self, a): return self.t", "return H().f(a)"), "self.t = 1", "self.t = 2"),
    Shape("operator", _method("    def __add__(self, other): return 1", "return H() + a"), "return 1", "return 2"),
    Shape("context manager", _method("    def __enter__(self): return 1\n    def __exit__(self, *a): return None", "with H() as value: return value"), "return 1", "return 2"),
    Shape("method that is not used", _method("    def f(self, a): return a\n    def g(self): return 1", "return H().f(a)"), "return 1", "return 2", opens=False),
    Shape("comment in a method", _method("    def f(self, a): return a  # one", "return H().f(a)"), "# one", "# two", opens=False),
    Shape("attribute of a global object", _method("    def __init__(self, t): self.t = t\n    def f(self, a): return self.t", "return h.f(a)").replace("def model", "h = H(1)\ndef model"), "H(1)", "H(2)"),
    Shape("list in a global object", _method("    def __init__(self, t): self.t = t\n    def f(self, a): return self.t[0]", "return h.f(a)").replace("def model", "h = H([1])\ndef model"), "H([1])", "H([2])"),
    Shape("object in an object", 'class Inner:\n    def __init__(self, t): self.t = t\nclass H:\n    def __init__(self): self.inner = Inner(1)\n    def f(self): return self.inner.t\nh = H()\ndef model(a=1): return h.f()\n', "Inner(1)", "Inner(2)"),
    Shape("method of a global object", _method("    def f(self, a): return a + 1", "return h.f(a)").replace("def model", "h = H()\ndef model"), "a + 1", "a + 2"),
    Shape("global object that is called", _method("    def __init__(self, t): self.t = t\n    def __call__(self, a): return self.t", "return h(a)").replace("def model", "h = H(1)\ndef model"), "H(1)", "H(2)"),
    Shape("property of a global object", _method("    @property\n    def p(self): return 1", "return h.p").replace("def model", "h = H()\ndef model"), "return 1", "return 2"),
    Shape("object whose methods are named as a list's", _method("    def __init__(self, t): self.t = t\n    def update(self, a): return self.t", "return h.update(a)").replace("def model", "h = H(1)\ndef model"), "H(1)", "H(2)"),
    # Weights of model objects.
    Shape("weights of an estimator", 'import numpy\nfrom sklearn.linear_model import LogisticRegression\nX = numpy.arange(12.0).reshape(6, 2)\nCLF = LogisticRegression().fit(X, [0, 0, 0, 1, 1, 1])\ndef model(a=1): return float(CLF.predict([[a, a]])[0])\n', "[0, 0, 0, 1, 1, 1]", "[0, 0, 1, 1, 1, 1]", needs="sklearn"),
    Shape("weights of a pipeline", 'import numpy\nfrom sklearn.linear_model import LogisticRegression\nfrom sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\nX = numpy.arange(12.0).reshape(6, 2)\nCLF = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, [0, 0, 0, 1, 1, 1])\ndef model(a=1): return float(CLF.predict([[a, a]])[0])\n', "numpy.arange(12.0)", "numpy.arange(1.0, 13.0)", needs="sklearn"),
    Shape("weights of a forest in an object", 'import numpy\nfrom sklearn.ensemble import RandomForestClassifier\nX = numpy.arange(12.0).reshape(6, 2)\nclass H:\n    def __init__(self): self.clf = RandomForestClassifier(5, random_state=0).fit(X, [0, 0, 0, 1, 1, 1])\n    def f(self, a): return float(self.clf.predict([[a, a]])[0])\nh = H()\ndef model(a=1): return h.f(a)\n', "[0, 0, 0, 1, 1, 1]", "[0, 1, 0, 1, 0, 1]", needs="sklearn"),
    Shape("a large array", 'import numpy\nE = numpy.arange(300_000.0)\ndef model(a=1): return float(E[0])\n', "numpy.arange(300_000.0)", "numpy.arange(1.0, 300_001.0)", needs="numpy"),
    # Output.
    Shape("key of an output", 'KEY = "a"\ndef model(a=1): return {KEY: 1}\n', 'KEY = "a"', 'KEY = "b"'),
    Shape("columns of a table", 'import pandas\ndef model(a=1): return pandas.DataFrame(columns())\ndef columns(): return {"a": [1]}\n', '"a": [1]', '"b": [1]', needs="pandas"),
    # Data or state only: no edit, several calls, and a new process each time.
    Shape("keys that are data", 'ARGUMENTS = [[x] for x in range(6)]\ndef model(x): return {f"user{x}": 1}\n', versions=2),
    Shape("probabilities by class", 'ARGUMENTS = [["cat"], ["dog"], ["cow"], ["cat"]]\ndef model(x): return {x: 0.5, "rest": 0.5}\n', versions=2),
    Shape("shapes that alternate", 'ARGUMENTS = [[x] for x in range(9)]\ndef model(x): return ["a", {"a": 1}, [1]][x % 3]\n', versions=2),
    Shape("length of a list", 'ARGUMENTS = [[n] for n in (1, 14, 15, 16, 20, 200)]\ndef model(n): return [1] * n + ["end"]\n'),
    Shape("nulls and empty lists", 'ARGUMENTS = [[None], [[]], [1], [None]]\ndef model(x): return {"a": x}\n'),
    Shape("length of a stream", 'ARGUMENTS = [[n] for n in (3, 8, 12, 30, 60)]\ndef model(n):\n    for i in range(n): yield "word "\n'),
    Shape("events of a stream", 'ARGUMENTS = [[n] for n in (3, 8, 12, 30, 60)]\ndef model(n):\n    yield {"start": 1}\n    for i in range(n):\n        yield {"delta": "a"}\n        if i % 10 == 9: yield {"ping": 1}\n    yield {"usage": {"words": n}}\n'),
    Shape("stream beside a whole answer", 'ARGUMENTS = [[0], [1], [0], [1]]\ndef model(stream): return iter(["a"]) if stream else "a"\n', versions=2),
    Shape("cache of the function", 'ARGUMENTS = [[1], [2], [3]]\nCACHE = {}\ndef model(x):\n    CACHE[x] = x\n    return CACHE[x]\n'),
    Shape("cache that another function fills", 'import os\nCACHE = {"process": os.getpid()}\ndef put(k, v): CACHE[k] = v\ndef model(a=1): return len(CACHE)\n'),
    Shape("counter of an object", 'import os\nclass H:\n    def __init__(self): self.calls = os.getpid()\n    def f(self):\n        self.calls += 1\n        return 1\nh = H()\ndef model(a=1): return h.f()\n'),
    Shape("history of an object", 'import os\nclass H:\n    def __init__(self): self.seen = [os.getpid()]\n    def f(self):\n        self.seen.append(1)\n        return 1\nh = H()\ndef model(a=1): return h.f()\n'),
    Shape("counter of the module", 'import os\nCOUNT = os.getpid()\ndef model(a=1):\n    global COUNT\n    COUNT += 1\n    return 1\n'),
    Shape("computed once", 'import functools, os\nclass H:\n    @functools.cached_property\n    def p(self): return os.getpid()\nh = H()\ndef model(a=1): return h.p > 0\n'),
    Shape("lock and logger", 'import logging, threading\nLOCK = threading.Lock()\nLOG = logging.getLogger(__name__)\ndef model(a=1):\n    with LOCK: LOG.debug("a")\n    return 1\n'),
    Shape("object of a library", 'import urllib3\nPOOL = urllib3.PoolManager()\ndef model(a=1): return POOL is not None\n'),
    Shape("place of the file", 'import pathlib\nHERE = pathlib.Path(__file__).parent\ndef model(a=1): return HERE.exists()\n'),
)  # fmt: skip


def versions_of(model: Any, arguments: list[list[Any]]) -> list[tuple[str, str]]:
    """Call a model once per arguments; return digest and structure of each run."""
    exporter = InMemorySpanExporter()
    client = Client("shop", exporter=exporter, join=False)
    traced = client.trace(name="model")(model)
    for one in arguments:
        answer = traced(*one)
        if hasattr(answer, "__next__"):
            list(answer)
    assert client.flush()
    client.close()
    told = [dict(span.attributes or {}) for span in exporter.get_finished_spans()]
    names = ("otel_ml.model.version", "otel_ml.model.output_schema")
    return [(str(one[names[0]]), str(one.get(names[1], ""))) for one in told]


def main(folders: list[str]) -> None:
    """Print the versions of the packages in the folders."""
    found = {}
    for folder in folders:
        sys.path.insert(0, folder)
        module = importlib.import_module("shop.model")
        found[folder] = versions_of(module.model, getattr(module, "ARGUMENTS", [[]]))
        sys.path.remove(folder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
            del sys.modules[name]
    sys.stdout.write(json.dumps(found))


def write(shape: Shape, folder: Path, *, edited: bool) -> Path:
    """Write a shape's package into a folder."""
    for path, text in shape.files(edited=edited).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "shop" / "__init__.py").touch()
    return folder


if __name__ == "__main__":
    main(sys.argv[1:])
