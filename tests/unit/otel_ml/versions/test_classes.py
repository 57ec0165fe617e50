"""Versions of models that use classes: which parts of a class count."""

from pathlib import Path
from typing import Final

import pytest

from otel_ml.versions.definition import define
from tests.support.otel_ml.written import imported

SHOP: Final = {
    "shop.model": """
        import functools
        from shop import settings
        from shop.prompts import Prompts

        class Base:
            tone = "kind"

            def ending(self):
                return "."

        class Model(Base):
            prompt = "Answer: "
            unread = 1

            def __init__(self):
                self.words = 2

            @staticmethod
            def cut(text):
                return text[:10]

            @classmethod
            def make(cls):
                return cls.prompt

            @property
            def start(self):
                return self.prompt + self.tone

            @functools.cached_property
            def middle(self):
                return "middle"

            def answer(self, question):
                def inner():
                    return self.ending() + Prompts.Short.text + settings.limits.LIMIT

                return self.start + self.middle + self.cut(question) + self.make() + inner()

        model = Model().answer
    """,
    "shop.prompts": """
        class Prompts:
            class Short:
                text = "Be short."
    """,
    "shop.settings": "from shop import limits\n",
    "shop.limits": 'LIMIT = "10"\n',
}


def digest(directory: Path, module: str = "shop.model", old: str = "", new: str = "") -> str:
    """Return the digest of ``shop.model.model`` after a change in one module."""
    assert old in SHOP[module]
    sources = {**SHOP, module: SHOP[module].replace(old, new)} if old else SHOP
    with imported(directory, sources, "shop.model") as imported_module:
        return define(imported_module.model).digest


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        pytest.param("shop.model", "Answer: ", "Say: ", id="constant of the class"),
        pytest.param("shop.model", '"kind"', '"rude"', id="constant of a base"),
        pytest.param("shop.model", 'return "."', 'return "!"', id="method of a base"),
        pytest.param("shop.model", "[:10]", "[:20]", id="static method"),
        pytest.param("shop.model", "return cls.prompt", "return cls.tone", id="class method"),
        pytest.param("shop.model", "prompt + self.tone", "tone + self.prompt", id="property"),
        pytest.param("shop.model", '"middle"', '"centre"', id="cached property"),
        pytest.param("shop.prompts", "short", "brief", id="constant of another class"),
        pytest.param("shop.limits", '"10"', '"20"', id="constant of a module of a module"),
    ],
)
def test_class_opens_a_version(tmp_path: Path, module: str, old: str, new: str) -> None:
    """A change in a class or module of the package that a method uses changes the version."""
    assert digest(tmp_path, module, old, new) != digest(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("unread = 1", "unread = 2", id="unread constant"),
        pytest.param("self.words = 2", "self.words = 3", id="attribute of the object"),
        pytest.param("# of nothing", "# of something", id="comment"),
    ],
)
def test_what_is_not_read_opens_no_version(tmp_path: Path, old: str, new: str) -> None:
    """Class constants that a method does not use, and attributes of its object, do not count."""
    source = SHOP["shop.model"] + "        # of nothing\n"
    with imported(tmp_path, {**SHOP, "shop.model": source}, "shop.model") as module:
        first = define(module.model).digest
    assert old in source
    changed = {**SHOP, "shop.model": source.replace(old, new)}
    with imported(tmp_path, changed, "shop.model") as module:
        assert define(module.model).digest == first


def test_constants_are_named_by_their_class(tmp_path: Path) -> None:
    """The definition names constants by class, even if the source uses self."""
    with imported(tmp_path, SHOP, "shop.model") as module:
        definition = define(module.model)
    assert definition.constants == {
        "Model.prompt": "Answer: ",
        "Model.tone": "kind",
        "Prompts.Short.text": "Be short.",
        "settings.limits.LIMIT": "10",
    }
    assert sorted(definition.helpers) == [
        "Base.ending",
        "Model.cut",
        "Model.make",
        "Model.middle",
        "Model.start",
    ]


def test_class_of_another_package_does_not_count(tmp_path: Path) -> None:
    """Constants of a class from another package do not count."""
    text = "from other import Other\n\ndef model():\n    return Other.prompt\n"
    digests = set()
    for word in "ab":
        sources = {"shop.model": text, "other": f"class Other:\n    prompt = {word!r}\n"}
        with imported(tmp_path, sources, "shop.model") as module:
            digests.add(define(module.model).digest)
    assert len(digests) == 1


def test_first_parameter_of_a_static_method_is_no_object(tmp_path: Path) -> None:
    """Attributes of a static method's first argument are not looked up in its class."""
    text = """
        class Model:
            prompt = "a"

            @staticmethod
            def model(other):
                return other.prompt

        model = Model.model
    """
    with imported(tmp_path, {"shop.model": text}, "shop.model") as module:
        assert define(module.model).constants == {}
