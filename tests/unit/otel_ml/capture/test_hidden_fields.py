"""Fields that a class keeps out of its ``repr`` or its dump, in everything that is recorded."""

import dataclasses
import json
from typing import Any, Generic, TypeVar

import attrs
import pydantic
import pytest
from pydantic import v1 as pydantic_v1

from otel_ml import current_run
from tests.support.otel_ml.recording import Recording, attributes, events, inputs, outputs

T = TypeVar("T")


@dataclasses.dataclass
class Card:
    name: str = "Ann"
    number: str = dataclasses.field(default="HIDDEN", repr=False)


@dataclasses.dataclass
class GiftCard(Card):
    pin: str = dataclasses.field(default="HIDDEN", repr=False)


@dataclasses.dataclass(slots=True, frozen=True)
class SlottedCard:
    name: str = "Ann"
    number: str = dataclasses.field(default="HIDDEN", repr=False)


@attrs.define
class Attrs:
    name: str = "Ann"
    word: str = attrs.field(default="HIDDEN", repr=False)


@attrs.define
class Masked:
    name: str = "Ann"
    word: str = attrs.field(default="HIDDEN", repr=lambda word: "*" * len(word))


class Excluded(pydantic.BaseModel):
    name: str = "Ann"
    pin: str = pydantic.Field(default="HIDDEN", exclude=True)


class Unshown(pydantic.BaseModel):
    name: str = "Ann"
    note: str = pydantic.Field(default="HIDDEN", repr=False)


class Sometimes(pydantic.BaseModel):
    name: str = "Ann"
    pin: str = pydantic.Field(default="HIDDEN", exclude_if=lambda pin: pin == "HIDDEN")


@pydantic.dataclasses.dataclass
class SometimesInDataclass:
    name: str = "Ann"
    pin: str = pydantic.Field(default="HIDDEN", exclude_if=lambda pin: pin == "HIDDEN")


class Failing(pydantic.BaseModel):
    name: str = "Ann"
    pin: str = pydantic.Field(default="HIDDEN", exclude_if=lambda pin: int(pin) > 0)


class UnshownMore(Unshown):
    more: str = pydantic.Field(default="HIDDEN", repr=False)


class Aliased(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(serialize_by_alias=True)

    name: str = "Ann"
    note: str = pydantic.Field(default="HIDDEN", repr=False, serialization_alias="theNote")


class Page(pydantic.BaseModel, Generic[T]):
    name: str = "Ann"
    item: T = pydantic.Field(repr=False)


class Computed(pydantic.BaseModel):
    name: str = "Ann"

    @pydantic.computed_field(repr=False)  # type: ignore[prop-decorator]  # of a property
    @property
    def code(self) -> str:
        return "HIDDEN"


class Account(pydantic.BaseModel):
    """Fields that pydantic dumps as plain dicts, in which nothing tells of their classes."""

    owner: Unshown = Unshown()
    cards: list[Card] = [Card()]
    by_name: dict[str, Unshown | Excluded] = {"a": UnshownMore(), "b": Excluded()}
    pair: tuple[Unshown, int] = (Unshown(), 1)
    anything: Any = Attrs()


class Several(pydantic.BaseModel):
    all: list[Sometimes] = [Sometimes()]
    named: dict[str, Any] = {"a": SometimesInDataclass(), "b": Sometimes()}


class Cards(pydantic.RootModel[list[Unshown]]):
    pass


@pydantic.dataclasses.dataclass
class Validated:
    name: str = "Ann"
    number: str = pydantic.Field(default="HIDDEN", exclude=True)
    note: str = pydantic.Field(default="HIDDEN", repr=False)
    card: Unshown = dataclasses.field(default_factory=Unshown)


class Old(pydantic_v1.BaseModel):
    name: str = "Ann"
    word: str = pydantic_v1.Field(default="HIDDEN", repr=False)
    pin: str = pydantic_v1.Field(default="HIDDEN", exclude=True)


class Sealed(pydantic.BaseModel):
    name: str = "Ann"
    value: pydantic.SecretStr = pydantic.SecretStr("HIDDEN")


VALUES: dict[str, Any] = {
    "dataclass": Card(),
    "subclass": GiftCard(),
    "slots": SlottedCard(),
    "attrs": Attrs(),
    "attrs with a function": Masked(),
    "exclude": Excluded(),
    "pydantic repr": Unshown(),
    "pydantic subclass": UnshownMore(),
    "exclude_if": Sometimes(),
    "exclude_if in a dataclass": SometimesInDataclass(),
    "exclude_if in a list": Several(),
    "alias": Aliased(),
    "generic model": Page[str](item="HIDDEN"),
    "computed": Computed(),
    "nested": Account(),
    "root": Cards([Unshown()]),
    "pydantic dataclass": Validated(),
    "pydantic 1": Old(),
    "secret type": Sealed(),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_hidden_field(value: Any) -> None:
    """A field that its class hides is not recorded in inputs, outputs, params or logged values."""
    recording = Recording()

    @recording.client.trace(params={"value": value})
    def give(plain: Any, listed: Any, named: Any) -> Any:
        current_run().log("value", value)
        current_run().log("values", [value, {"a": value}])
        return [named]

    give(value, [value, (value,)], {"a": {"b": value}})

    run = recording.run()
    sent = json.dumps(attributes(run)) + json.dumps(events(run))
    assert "HIDDEN" not in sent
    assert sent.count("Ann") >= 6


def test_nested_models() -> None:
    """Objects that pydantic dumps as dicts lose the hidden fields of their own classes only."""
    recording = Recording()

    @recording.client.trace
    def give(account: Account) -> Cards:
        return Cards([Unshown(name="Bob")])

    give(Account())

    assert inputs(recording.run()) == {
        "account": {
            "owner": {"name": "Ann"},
            "cards": [{"name": "Ann"}],
            "by_name": {"a": {"name": "Ann"}, "b": {"name": "Ann"}},
            "pair": [{"name": "Ann"}, 1],
            "anything": {"name": "Ann"},
        }
    }
    assert outputs(recording.run()) == [{"name": "Bob"}]


def test_function_of_attrs() -> None:
    """A field whose class passes a function as ``repr`` is recorded as the function's result."""
    recording = Recording()

    @recording.client.trace
    def give(given: Masked) -> None:
        return None

    give(Masked(word="1234"))

    assert inputs(recording.run()) == {"given": {"name": "Ann", "word": "****"}}


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        (Card(), {"name": "Ann", "number": "HIDDEN"}),
        (Masked(), {"name": "Ann", "word": "HIDDEN"}),
        (Excluded(), {"name": "Ann", "pin": "HIDDEN"}),
        (Sometimes(), {"name": "Ann", "pin": "HIDDEN"}),
        (SometimesInDataclass(), {"name": "Ann", "pin": "HIDDEN"}),
        (
            Several(named={"a": Sometimes()}),
            {
                "all": [{"name": "Ann", "pin": "HIDDEN"}],
                "named": {"a": {"name": "Ann", "pin": "HIDDEN"}},
            },
        ),
        (Cards([Unshown()]), [{"name": "Ann", "note": "HIDDEN"}]),
        (
            Validated(),
            {
                "name": "Ann",
                "number": "HIDDEN",
                "note": "HIDDEN",
                "card": {"name": "Ann", "note": "HIDDEN"},
            },
        ),
    ],
    ids=[
        *("dataclass", "attrs", "exclude", "exclude_if", "exclude_if in a dataclass"),
        *("exclude_if inside", "root", "pydantic dataclass"),
    ],
)
def test_capture_hidden(value: Any, recorded: Any) -> None:
    """With ``capture_hidden=True``, fields are recorded although their class hides them."""
    recording = Recording(capture_hidden=True)

    @recording.client.trace(params={"value": value})
    def give(given: Any) -> Any:
        current_run().log("value", value)
        return value

    give(value)

    run = recording.run()
    assert inputs(run) == {"given": recorded}
    assert outputs(run) == recorded
    assert json.loads(attributes(run)["otel_ml.params"]) == {"value": recorded}
    assert "HIDDEN" in json.dumps(events(run))


def test_capture_hidden_of_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_ML_CAPTURE_HIDDEN=on records hidden fields of clients that do not decide themselves."""
    monkeypatch.setenv("OTEL_ML_CAPTURE_HIDDEN", "on")
    recorded = []
    for capture_hidden in (None, False):
        recording = Recording(capture_hidden=capture_hidden)
        recording.client.trace(lambda card: None)(Card())
        recorded.append(inputs(recording.run()))
    assert recorded == [
        {"card": {"name": "Ann", "number": "HIDDEN"}},
        {"card": {"name": "Ann"}},
    ]


CARD = Card("Bob")


def test_constant_of_a_version() -> None:
    """A model version shows a hash instead of the hidden field of a constant."""
    recording = Recording()

    @recording.client.trace
    def give() -> str:
        return CARD.name

    give()

    definition = attributes(recording.run())["otel_ml.model.definition"]
    constants = json.loads(definition)["constants"]
    assert "HIDDEN" not in json.dumps(constants)
    assert constants["CARD"]["name"] == "Bob"
    assert constants["CARD"]["number"].startswith("sha256:")


def test_exclude_if_that_fails() -> None:
    """If the function of ``exclude_if`` raises, the field is not recorded."""
    recording = Recording()
    recording.client.trace(lambda given: given)(Failing())
    sent = json.dumps(attributes(recording.run()))
    assert "HIDDEN" not in sent
    assert "Failing" in sent


def test_exclude_if_shows_other_values() -> None:
    """A field with ``exclude_if`` is recorded if its value is not excluded."""
    recording = Recording()
    recording.client.trace(lambda given: None)(
        [Sometimes(pin="12"), SometimesInDataclass(pin="34")]
    )
    assert inputs(recording.run())["given"] == [
        {"name": "Ann", "pin": "12"},
        {"name": "Ann", "pin": "34"},
    ]


class Turn(pydantic.BaseModel):
    role: str = "user"
    content: str = pydantic.Field(default="HIDDEN", repr=False)


class SometimesTurn(pydantic.BaseModel):
    role: str = "user"
    content: str = pydantic.Field(default="HIDDEN", exclude_if=lambda text: text == "HIDDEN")


@attrs.define
class MaskedTurn:
    role: str = "user"
    content: str = attrs.field(default="HIDDEN", repr=lambda text: "*" * len(text))


@dataclasses.dataclass
class DataTurn:
    role: str = "user"
    content: str = dataclasses.field(default="HIDDEN", repr=False)


TURNS: dict[str, Any] = {
    "pydantic": Turn(),
    "exclude_if": SometimesTurn(),
    "attrs with a function": MaskedTurn(),
    "dataclass": DataTurn(),
}


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("kind", ["chat", "execute_tool"])
def test_hidden_content_of_a_message(turn: Any, kind: str) -> None:
    """The messages of a chat do not contain the hidden fields of message objects."""
    recording = Recording()

    @recording.client.trace(kind=kind)
    def answer(messages: list[Any]) -> Any:
        return turn

    answer([turn])

    run = attributes(recording.run())
    assert "HIDDEN" not in json.dumps(run)
    assert any(name.startswith("gen_ai.") for name in run)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("chat", ("gen_ai.input.messages", "gen_ai.output.messages")),
        ("execute_tool", ("gen_ai.tool.call.arguments", "gen_ai.tool.call.result")),
    ],
)
def test_capture_hidden_of_a_message(turn: Any, kind: str, names: tuple[str, ...]) -> None:
    """With ``capture_hidden=True``, messages and tool calls contain hidden fields too."""
    recording = Recording(capture_hidden=True)

    @recording.client.trace(kind=kind)
    def answer(messages: list[Any]) -> Any:
        return turn

    answer([turn])

    run = attributes(recording.run())
    assert [name for name in names if "HIDDEN" not in str(run.get(name))] == []
