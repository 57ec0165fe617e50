"""Values, classes and objects that a function uses: which ones count, and which are unseen."""

import json
from pathlib import Path
from typing import Any

import pytest

from otel_ml import Client
from otel_ml.redaction import Redaction
from otel_ml.versions.definition import Definition, define
from otel_ml.versions.version_on import PARTS, Part
from tests.support.otel_ml.recording import Recording, attributes
from tests.support.otel_ml.written import imported


def define_text(directory: Path, text: str, **others: str) -> Definition:
    """Define ``model`` in a module of a package with further modules."""
    sources = {"shop.model": text, **{f"shop.{name}": other for name, other in others.items()}}
    with imported(directory, sources, "shop.model") as module:
        return define(module.model)


def told(definition: Definition, redaction: Redaction | None = None) -> Any:
    return json.loads(definition.to_json(redaction or Redaction()))


def test_values_are_shown(tmp_path: Path) -> None:
    """The definition has the values that count as data."""
    found = define_text(
        tmp_path,
        """
        import re
        from dataclasses import dataclass

        @dataclass
        class Cfg:
            t: int
            stop: list

        class Model:
            def __init__(self):
                self.rate = 0.5

            def run(self):
                return self.rate

        CFG = {"a": [1, {"b": None}], 2: (True,)}
        WORDS = {"b", "a"}
        SETTINGS = Cfg(1, ["end"])
        WORD = re.compile("[a-z]")
        MODEL = Model()

        def model():
            return CFG, WORDS, SETTINGS, WORD, MODEL.run()
        """,
    )
    assert told(found)["constants"] == {
        "CFG": {"a": [1, {"b": None}], "2": [True]},
        "WORDS": ["a", "b"],
        "SETTINGS": {"t": 1, "stop": ["end"]},
        "WORD": "[a-z]",
        "MODEL": {"rate": 0.5},
    }
    assert set(found.helpers) == {"Model.__init__", "Model.run"}
    assert found.unseen == ()


def test_secrets_in_values_are_hashed(tmp_path: Path) -> None:
    """A secret inside a value appears as a hash, and another secret changes the version."""
    text = """
        CFG = {{"api_key": "{}", "inner": [{{"password": "hush"}}], "t": 1}}

        def model():
            return CFG
    """
    first, second = (define_text(tmp_path, text.format(key)) for key in ("sk-123", "sk-456"))
    shown = told(first)["constants"]["CFG"]
    assert shown["t"] == 1
    assert shown["api_key"].startswith("sha256:")
    assert shown["inner"][0]["password"].startswith("sha256:")
    assert "sk-123" not in first.to_json(Redaction())
    assert "hush" not in first.to_json(Redaction())
    assert first.digest != second.digest


def test_users_redaction_covers_values(tmp_path: Path) -> None:
    """The user's redact function also applies to values."""
    found = define_text(tmp_path, 'CFG = {"a": ["mine"]}\n\ndef model():\n    return CFG\n')
    hide = Redaction(redact=lambda text: text.replace("mine", "theirs"))
    assert told(found, hide)["constants"] == {"CFG": {"a": ["theirs"]}}


@pytest.mark.parametrize(
    ("before", "body", "expected"),
    [
        ("import urllib3\nclient = urllib3.PoolManager()", "client", "attributes of `client`"),
        (
            "import urllib3\nCFG = {'pool': urllib3.PoolManager()}",
            "CFG",
            "attributes of `CFG['pool']`",
        ),
        (
            "import urllib3\nclass H: pass\nh = H()\nh.pool = urllib3.PoolManager()",
            "h",
            "attributes of `h.pool`",
        ),
        (
            "import sqlite3\nDB = sqlite3.connect(':memory:')",
            "DB",
            "`DB`, a `sqlite3.Connection`, which cannot be read",
        ),
        ("import string\nT = string.Template('$a')", "T", "attributes of `T`"),
        (
            "import functools, sqlite3\nDB = sqlite3.connect(':memory:')\n"
            "ask = functools.partial(len, DB)",
            "ask",
            "`0` that `ask` binds, a `sqlite3.Connection`",
        ),
        (
            "import collections, itertools\nmore = itertools.repeat(1)\n"
            "D = collections.defaultdict(more.__next__)",
            "D",
            "`D.default_factory.__self__`, a `itertools.repeat`, which cannot be read",
        ),
        (
            "import collections\nD = collections.ChainMap({})",
            "D",
            "attributes of `D`",
        ),
        ("CACHE = {}\ndef put(k): CACHE[k] = 1", "CACHE", "`CACHE`, which functions change"),
        ("SEEN = []\ndef put(k): SEEN.append(k)", "SEEN", "`SEEN`, which functions change"),
        (
            "class H:\n    def __init__(self): self.n = 0\n    def f(self): self.n += 1\nh = H()",
            "h.f()",
            "`H.n`, which functions change",
        ),
        (
            "class H: pass\nh = H()\nh.n = 0\ndef count(): h.n += 1",
            "h",
            "`H.n`, which functions change",
        ),
        ("BIG = list(range(20_000))", "BIG", "`BIG`, which is too large"),
        ("import os", "os.environ['A']", "environment variables"),
        ("import os", "os.getenv('A')", "environment variables"),
        ("", "open('a')", "contents of files that are opened"),
        ("import pathlib\nP = pathlib.Path('/a')", "P", "`P`, a path on this machine"),
        (
            "def d(): return 1\ndef c(): return d()\ndef b(): return c()\ndef a(): return b()",
            "a()",
            "`d`, more than 3 calls deep",
        ),
        ("from other import stranger", "stranger()", "`stranger`, of another package (`other`)"),
    ],
)
def test_what_is_not_seen_is_said(tmp_path: Path, before: str, body: str, expected: str) -> None:
    """Parts of a function's names that the definition cannot read are listed as unseen."""
    sources = {
        "shop.model": f"{before}\n\ndef model():\n    return {body}\n",
        "other": "def stranger():\n    return 1\n",
    }
    with imported(tmp_path, sources, "shop.model") as module:
        found = define(module.model)
    assert list(found.unseen) == [expected]
    assert told(found)["unseen"] == [expected]


@pytest.mark.parametrize(
    "before",
    [
        "import logging\nX = logging.getLogger()",
        "import threading\nX = threading.Lock()",
        "import json as X",
        "X = len",
        "X = int",
        "from typing import Any as X",
        "X = object()",
        "X = 1",
    ],
)
def test_what_is_no_part_of_a_model_is_not_said(tmp_path: Path, before: str) -> None:
    """Loggers, locks, libraries and types are not listed as unseen."""
    assert define_text(tmp_path, f"{before}\n\ndef model():\n    return X\n").unseen == ()


@pytest.mark.parametrize(
    "before",
    [
        "from typing import TypedDict\nclass X(TypedDict):\n    a: int",
        "class M(type):\n    def __subclasscheck__(cls, other): raise TypeError\n"
        "class X(metaclass=M): a = 1",
    ],
)
def test_metaclasses_are_not_asked(tmp_path: Path, before: str) -> None:
    """A class whose metaclass raises is read like any other class."""
    text = f"{before}\n\ndef model():\n    return X(), X.__init__, X.a\n"
    assert define_text(tmp_path, text).to_json(Redaction())


def test_builtin_says_that_it_is_not_seen() -> None:
    """The code of a compiled function is listed as unseen."""
    assert define(len).unseen == (
        "the code of `builtins.len`, which is compiled or belongs to a library",
    )


def test_attribute_of_the_object_is_said(tmp_path: Path) -> None:
    """An attribute that only the method's object has is listed as unseen."""
    text = """
        class Model:
            def __init__(self):
                self.words = 2

            def answer(self):
                return self.words

        model = Model().answer
    """
    assert define_text(tmp_path, text).unseen == ("`self.words`, which only the object has",)


def test_unseen_stays_with_the_source(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With OTEL_ML_CAPTURE_SOURCE=off the unseen names are not sent either."""
    monkeypatch.setenv("OTEL_ML_CAPTURE_SOURCE", "off")
    found = define_text(tmp_path, "import os\n\ndef model():\n    return os.environ\n")
    assert told(found)["unseen"] == []


@pytest.mark.parametrize("part", ["constants", "helpers"])
def test_values_and_classes_count_where_they_are_named(tmp_path: Path, part: Part) -> None:
    """Values count as constants, and methods count as helpers."""
    text = """
        CFG = {"t": 1}

        class H:
            def f(self):
                return 1

        def model():
            return H().f(), CFG
    """
    edits = {"constants": ('"t": 1', '"t": 2'), "helpers": ("return 1", "return 2")}
    for version_on in (PARTS, PARTS - {part}):
        digests = set()
        for edited in (text, text.replace(*edits[part])):
            with imported(tmp_path, {"shop.model": edited}, "shop.model") as module:
                digests.add(define(module.model, {}, version_on).digest)
        assert (len(digests) == 2) == (part in version_on)


def test_values_that_hold_themselves_end(tmp_path: Path) -> None:
    """Values that contain themselves, directly or through objects, have a digest."""
    text = """
        class H:
            pass

        LIST = [1]
        LIST.append(LIST)
        DICT = {}
        DICT["self"] = DICT
        ME = H()
        ME.me = ME
        DEEP = []
        for _ in range(1_000):
            DEEP = [DEEP]

        def model():
            return LIST, DICT, ME, DEEP
    """
    assert define_text(tmp_path, text).digest == define_text(tmp_path, text).digest


def test_hostile_objects_are_not_asked(tmp_path: Path) -> None:
    """Objects whose methods all raise are read without calling one."""
    text = """
        class H:
            def __init__(self):
                self.a = 1

            def __getattribute__(self, name):
                raise RuntimeError

            __iter__ = __len__ = __eq__ = __hash__ = __repr__ = __bool__ = __getattribute__

        H = type("H", (H,), {})
        h = H()
        IN = [h]

        def model():
            return h, IN
    """
    assert define_text(tmp_path, text).constants["h"] == {"a": 1}


def test_order_of_the_process_does_not_count(tmp_path: Path) -> None:
    """The order of sets and dicts of functions does not change the digest."""
    text = "".join(f"def f{n}(): return {n}\n" for n in range(9))
    names = [f"f{n}" for n in range(9)]
    digests = set()
    for order in (names, names[::-1]):
        body = f"A = {{{', '.join(order)}}}\nB = {{{', '.join(f'{n!r}: {n}' for n in order)}}}\n"
        digests.add(define_text(tmp_path, f"{text}{body}\ndef model(): return A, B\n").digest)
    assert len(digests) == 1


def test_value_that_changes_in_a_module_is_that_of_the_first_call(
    client: Client, recording: Recording, tmp_path: Path
) -> None:
    """In a module a value is read at the first call, so later changes of it do not count."""
    text = 'CFG = {"t": 1}\n\ndef model():\n    return 1\n    CFG\n'
    with imported(tmp_path, {"shop.model": text}, "shop.model") as module:
        model = client.trace(module.model)
        model()
        module.CFG["t"] = 2
        model()
    first, second = (attributes(run)["otel_ml.model.version"] for run in recording.runs())
    assert first == second


_TABLE = """
class Table(dict):
    def __init__(self, default):
        self.default = default

    def __missing__(self, key):
        return self.default {}

D = Table({})
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("defaultdict(int)", "defaultdict(list)"),
        ("defaultdict(lambda: 'unknown')", "defaultdict(lambda: 'other')"),
        ("defaultdict(more)", "defaultdict(less)"),
        ("defaultdict(int, a=1)", "dict(a=1)"),
        ("defaultdict({'a': 1}.copy)", "defaultdict({'a': 2}.copy)"),
    ],
)
def test_default_of_a_dict(tmp_path: Path, first: str, second: str) -> None:
    """The default of a defaultdict changes the version."""
    text = (
        "from collections import defaultdict\ndef more(): return 1\ndef less(): return 0\n"
        "D = {}\ndef model(key):\n    return D.get(key)\n"
    )
    found = [define_text(tmp_path, text.format(made)) for made in (first, first, second)]
    assert found[0].digest == found[1].digest != found[2].digest
    assert found[0].unseen == ()


@pytest.mark.parametrize("other", [("", "2"), ("+ 1", "1")])
def test_default_of_an_own_dict(tmp_path: Path, other: tuple[str, str]) -> None:
    """The default of a user's dict class changes the version, through its method and its value."""
    text = _TABLE + "\ndef model(key):\n    return D[key]\n"
    found = [define_text(tmp_path, text.format(*made)) for made in (("", "1"), ("", "1"), other)]
    assert found[0].digest == found[1].digest != found[2].digest


@pytest.mark.parametrize(
    ("default", "unseen"),
    [
        ("DB", ("default of `db`, a `sqlite3.Connection`",)),
        ("{'a': DB}", ("default of `db`, a `builtins.dict`",)),
        ("[1, 2]", ()),
        ("None", ()),
        ("len", ()),
    ],
)
def test_default_of_a_parameter(tmp_path: Path, default: str, unseen: tuple[str, ...]) -> None:
    """A default that the source does not show, such as an open connection, is listed as unseen."""
    text = (
        "import sqlite3\nDB = sqlite3.connect(':memory:')\n\n"
        f"def model(key, db={default}):\n    return db\n"
    )
    assert define_text(tmp_path, text).unseen == unseen
