"""The definition of a model version."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from otel_ml.redaction import Redaction
from otel_ml.versions.definition import Definition, define
from tests.support.otel_ml.written import imported

# `shop.model.model` calls a helper in a chain of three; `other` is another package.
SHOP = {
    "shop.model": '''
        import functools
        import other
        from shop import settings
        from shop.first import first
        from shop.settings import API_KEY, RATES

        def plain(function):
            return function

        def loud(function):
            return function

        PROMPT = "Answer in one word."
        LIMIT = 3
        SHARE = 0.5
        STRICT = True
        WORDS = ("yes", ("no", 1))
        UNUSED = "a"

        def make(offset):
            @plain
            def model(a: int, b: str = "x", *, c: float = 1.0) -> int:
                """The model."""
                text = f"{PROMPT} {LIMIT} {SHARE} {STRICT} {WORDS} {RATES} {API_KEY}"
                mode = settings.MODE

                def inner(value):
                    """Inner."""
                    return value * offset

                class Holder:
                    """Holder."""

                    size = 1

                return inner(first(a)) + len(text) + other.stranger(a) + Holder.size

            return model

        model = make(2)
    ''',
    "shop.first": """
        from shop.second import second

        def first(a):
            return second(a) + 1
    """,
    "shop.second": """
        from shop.third import third

        SECOND = 20

        def second(a):
            return third(a) + SECOND
    """,
    "shop.third": """
        from shop.fourth import fourth

        def third(a):
            return fourth(a) + 3
    """,
    "shop.fourth": """
        def fourth(a):
            return a + 4
    """,
    "shop.settings": """
        RATES = (0.1, 0.2)
        MODE = "fast"
        API_KEY = "sk-123456"
    """,
    "other": """
        def stranger(a):
            return a + 5
    """,
}
BREAK = "\n" + " " * 16
CACHED = "@functools.cache\n" + " " * 16


def define_model(
    directory: Path, sources: Mapping[str, str], params: Mapping[str, object] | None = None
) -> Definition:
    """Return the definition of ``shop.model.model`` in modules with the given sources."""
    with imported(directory, sources, "shop.model") as module:
        return define(module.model, params)


def changed(module: str, old: str, new: str) -> dict[str, str]:
    assert old in SHOP[module]
    return {**SHOP, module: SHOP[module].replace(old, new)}


def one_module(source: str) -> dict[str, str]:
    return {"shop.model": source}


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        pytest.param("shop.model", "len(text) +", "len(text) -", id="body"),
        pytest.param("shop.model", "value * offset", "value / offset", id="inner function"),
        pytest.param("shop.model", "def inner", f"{CACHED}def inner", id="inner decorator"),
        pytest.param("shop.model", "size = 1", "size = 2", id="inner class"),
        pytest.param("shop.model", "a: int,", "a: int, d=None,", id="parameter"),
        pytest.param("shop.model", "a: int,", "a: float,", id="annotation"),
        pytest.param("shop.model", "-> int", "-> float", id="return annotation"),
        pytest.param("shop.model", 'b: str = "x"', 'b: str = "y"', id="default"),
        pytest.param("shop.model", "c: float = 1.0", "c: float = 2.0", id="keyword default"),
        pytest.param("shop.model", "one word", "two words", id="text"),
        pytest.param("shop.model", "LIMIT = 3", "LIMIT = 4", id="number"),
        pytest.param("shop.model", "LIMIT = 3", "LIMIT = 3.0", id="type"),
        pytest.param("shop.model", "SHARE = 0.5", "SHARE = 0.25", id="float"),
        pytest.param("shop.model", "STRICT = True", "STRICT = False", id="bool"),
        pytest.param("shop.model", '("no", 1)', '("no", 2)', id="tuple"),
        pytest.param("shop.model", "make(2)", "make(3)", id="closure"),
        pytest.param("shop.settings", "0.2", "0.3", id="imported constant"),
        pytest.param("shop.settings", '"fast"', '"slow"', id="constant of a module"),
        pytest.param("shop.settings", "sk-123456", "sk-654321", id="secret"),
        pytest.param("shop.first", "+ 1", "+ 2", id="helper"),
        pytest.param("shop.second", "+ SECOND", "- SECOND", id="second helper"),
        pytest.param("shop.second", "SECOND = 20", "SECOND = 21", id="constant of a helper"),
        pytest.param("shop.third", "+ 3", "+ 30", id="third helper"),
    ],
)
def test_behaviour_opens_a_version(tmp_path: Path, module: str, old: str, new: str) -> None:
    """A change that can affect behaviour changes the digest."""
    before = define_model(tmp_path, SHOP).digest
    assert define_model(tmp_path, changed(module, old, new)).digest != before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        pytest.param("shop.model", "mode =", "# why\n                mode =", id="comment"),
        pytest.param("shop.model", "settings.MODE", "settings.MODE  # why", id="comment behind"),
        pytest.param("shop.model", "The model.", "Another text.", id="docstring"),
        pytest.param("shop.model", '"""The model."""', "", id="no docstring"),
        pytest.param("shop.model", '"""Inner."""', '"""Outer."""', id="inner docstring"),
        pytest.param("shop.model", '"""Holder."""', "", id="class docstring"),
        pytest.param("shop.model", "a: int, b", "a: int,\n                b", id="line break"),
        pytest.param("shop.model", "len(text) +", "len( text )+", id="spaces"),
        pytest.param("shop.model", "len(text) +", "(len(text)) +", id="parentheses"),
        pytest.param("shop.model", '"x"', "'x'", id="quotes"),
        pytest.param("shop.model", "LIMIT = 3", "LIMIT = 0b11", id="notation"),
        pytest.param("shop.model", "LIMIT = 3", "LIMIT = 1_0 - 7", id="constant expression"),
        pytest.param("shop.model", "size = 1", "size = 0x1", id="number"),
        pytest.param(
            "shop.model",
            "mode = settings",
            f"mode = \\{BREAK}settings",
            id="continuation",
        ),
        pytest.param("shop.model", "len(text) +", f"({BREAK}len(text){BREAK}) +", id="many lines"),
        pytest.param("shop.model", '"x"', '"\\x78"', id="escape"),
        pytest.param("shop.model", '"x"', '"" "x"', id="joined text"),
        pytest.param("shop.model", ".MODE", ".MODE  # type: str", id="type comment"),
        pytest.param("shop.model", "@plain", "@loud", id="decorator"),
        pytest.param(
            "shop.model",
            "@plain",
            "@loud\n            @plain",
            id="another decorator",
        ),
        pytest.param("shop.model", "@plain\n", "\n", id="no decorator"),
        pytest.param("shop.model", 'UNUSED = "a"', 'UNUSED = "b"', id="unused constant"),
        pytest.param("shop.first", "return", "# why\n            return", id="helper's comment"),
        pytest.param("shop.fourth", "+ 4", "+ 40", id="fourth helper"),
        pytest.param("other", "+ 5", "+ 50", id="helper of another package"),
    ],
)
def test_writing_opens_no_version(tmp_path: Path, module: str, old: str, new: str) -> None:
    """A change of formatting, or of code that is out of reach, does not change the digest."""
    before = define_model(tmp_path, SHOP).digest
    assert define_model(tmp_path, changed(module, old, new)).digest == before


def test_decorators_have_no_order(tmp_path: Path) -> None:
    """The order of decorators, or their absence, does not change the digest."""
    text = """
        def one(function):
            return function

        def two(function):
            return function

        {}
        def model(a):
            return a
    """
    orders = ["@one\n        @two", "@two\n        @one", ""]
    digests = {define_model(tmp_path, one_module(text.format(order))).digest for order in orders}
    assert len(digests) == 1


def test_going_back_gives_the_old_digest(tmp_path: Path) -> None:
    """Restored source has the original digest."""
    second = changed("shop.third", "+ 3", "+ 30")
    digests = [define_model(tmp_path, sources).digest for sources in (SHOP, second, SHOP)]
    assert digests[0] == digests[2] != digests[1]


@pytest.mark.parametrize("parameters", ["a", "a, b=1", "a, *, b='x'"])
def test_own_name_opens_no_version(tmp_path: Path, parameters: str) -> None:
    """The function's own name does not change the digest."""
    first = one_module(f"def model({parameters}):\n    return a\n")
    second = one_module(f"def answer({parameters}):\n    return a\n\nmodel = answer\n")
    assert define_model(tmp_path, first).digest == define_model(tmp_path, second).digest


def test_declared_params_open_a_version(tmp_path: Path) -> None:
    """Declared params change the digest, and their order does not."""
    digests = [
        define_model(tmp_path, SHOP, params).digest
        for params in ({}, {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 3})
    ]
    assert digests[1] == digests[2]
    assert len(set(digests)) == 3


def test_same_source_has_the_same_digest(tmp_path: Path) -> None:
    """The digest is 16 hex digits and does not depend on the source's location."""
    digest = define_model(tmp_path / "here", SHOP).digest
    assert digest == define_model(tmp_path / "there", SHOP).digest
    assert len(bytes.fromhex(digest)) == 8


def test_definition_names_its_parts(tmp_path: Path) -> None:
    """A definition has source, signature, params, helpers and constants, with secrets hashed."""
    source = """
        from shop.first import first
        from shop.settings import API_KEY

        WORDS = ("yes", "no")

        @staticmethod
        def model(a: int, *, b=2) -> str:
            return first(a), WORDS, API_KEY
    """
    helpers = {"shop.first": "def first(a):\n    return a\n"}
    settings = {"shop.settings": 'API_KEY = "sk-123456"\n'}
    definition = define_model(tmp_path, {**one_module(source), **helpers, **settings}, {"depth": 3})
    secret = definition.constants["API_KEY"]
    assert isinstance(secret, str)
    assert secret.startswith("sha256:")
    assert json.loads(definition.to_json(Redaction(), "{a: str}")) == {
        "source": ("def model(a: int, *, b=2) -> str:\n    return first(a), WORDS, API_KEY"),
        "signature": "(a: int, *, b=2) -> str",
        "params": {"depth": 3},
        "helpers": {"shop.first.first": "def first(a):\n    return a"},
        "constants": {"API_KEY": secret, "WORDS": ["yes", "no"]},
        "unseen": [],
        "output": "{a: str}",
    }


@pytest.mark.parametrize(
    "name",
    ["API_KEY", "apikey", "PASSWORD", "db_passwd", "client_secret", "TOKEN", "Authorization"],
)
def test_secret_is_not_told(tmp_path: Path, name: str) -> None:
    """A constant whose name suggests a secret does not appear in the definition."""
    source = one_module(f'{name} = "sk-123456"\n\ndef model():\n    return {name}\n')
    assert "sk-123456" not in define_model(tmp_path, source).to_json(Redaction())


def test_big_constant_hides_no_other(tmp_path: Path) -> None:
    """A constant over the size limit does not hide changes of other constants."""
    text = 'BIG = "{}"\nLIMIT = {}\n\ndef model():\n    return BIG, LIMIT\n'
    first = one_module(text.format("x" * 20_000, 1))
    second = one_module(text.format("x" * 20_000, 2))
    assert define_model(tmp_path, first).digest != define_model(tmp_path, second).digest


@pytest.mark.parametrize("words", [("hi", "bye"), ("hello", "goodbye")])
def test_closures_of_one_factory_all_count(tmp_path: Path, words: tuple[str, str]) -> None:
    """Each helper made by one factory counts with its own closure."""
    text = """
        def make(word):
            def say(name):
                return word + name
            return say

        greet = make("{}")
        leave = make("{}")

        def model(name):
            return greet(name), leave(name)
    """
    before = define_model(tmp_path, one_module(text.format("hello", "bye")))
    after = define_model(tmp_path, one_module(text.format(*words)))
    assert before.digest != after.digest


@pytest.mark.parametrize("words", [("c", "b"), ("a", "c")])
def test_constants_of_one_name_all_count(tmp_path: Path, words: tuple[str, str]) -> None:
    """A helper's closure variable and a module constant of the same name both count."""
    text = """
        word = "{}"

        def make(word):
            def say(name):
                return word + name
            return say

        say = make("{}")

        def model(name):
            return say(name), word
    """
    before = define_model(tmp_path, one_module(text.format("a", "b")))
    after = define_model(tmp_path, one_module(text.format(*words)))
    assert before.digest != after.digest


def test_near_helper_is_followed_as_a_near_one(tmp_path: Path) -> None:
    """A helper that is called both directly and through others brings its own helpers."""
    text = """
        def last(a):
            return a + {}

        def z(a):
            return last(a)

        def c(a):
            return z(a)

        def b(a):
            return c(a)

        def model(a):
            return b(a) + z(a)
    """
    digests = {define_model(tmp_path, one_module(text.format(n))).digest for n in (1, 2)}
    assert len(digests) == 2


def test_unrelated_constant_of_a_local_name_does_not_count(tmp_path: Path) -> None:
    """A module constant with the same name as a local variable does not count."""
    text = """
        text = "{}"

        def model(reply):
            text = reply.text
            return [text for _ in range(2)]
    """
    digests = {define_model(tmp_path, one_module(text.format(word))).digest for word in "ab"}
    assert len(digests) == 1


def test_recursive_functions_end(tmp_path: Path) -> None:
    """Functions that call each other have a finite definition."""
    text = """
        def model(a):
            return other(a) if a else model(a - 1)

        def other(a):
            return model(a - 1)
    """
    assert set(define_model(tmp_path, one_module(text)).helpers) == {"other"}


def test_helpers_are_bounded(tmp_path: Path) -> None:
    """Only the first 32 helpers are read."""
    names = [f"h{n:02}" for n in range(40)]
    helpers = "\n".join(f"def {name}(a):\n    return a\n" for name in names)
    calls = " + ".join(f"{name}(a)" for name in names)
    source = one_module(f"{helpers}\ndef model(a):\n    return {calls}\n")
    assert sorted(define_model(tmp_path, source).helpers) == names[:32]
