"""What every wrapper is: a value, and the JSON form that it is written in and read from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

import orjson

from otel_ml.arguments import invalid

Form = dict[str, Any]
Params = Mapping[str, Any]
Encode = Callable[[Any], Any]  # any value to what JSON has a form for
Decode = Callable[[Any], Any]  # and back

Self = TypeVar("Self", bound="Data")


class Writer(Protocol):
    """Writes the values that a value holds."""

    def encode(self, value: Any) -> Any:
        """Return what stands for `value` in JSON. Never raises."""

    def items(self, items: list[Any]) -> list[Any]:
        """Return what stands for each; the list may be the given one."""


class Data(ABC):
    """A value that can be written as JSON and read back as it was.

    Subclass it for a type of your own and `register` the subclass, so that `load` finds it.

    Attributes:
        type_name: What its written form is known by: the qualified name of the class, or the
            name that it was registered under.
        data: The value itself, never copied.
    """

    type_name: ClassVar[str]

    def __init__(self, data: Any) -> None:
        self.validate(data)
        self.data = data

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "type_name" not in cls.__dict__:
            cls.type_name = f"{cls.__module__}.{cls.__qualname__}"

    @abstractmethod
    def to_jcr(self) -> Form:
        """Write the value as it is now.

        Returns:
            A dict with the keys ``type``, which is `type_name`, and ``params``, made of what
            JSON knows, which is dicts with text keys, lists, texts, finite numbers, bools, None.
        """

    @classmethod
    @abstractmethod
    def from_jcr(cls: type[Self], params: Params) -> Self:
        """Read the params that `to_jcr` wrote."""

    def validate(self, data: Any) -> None:  # noqa: B027 - a wrapper may take anything
        """Raise a ValueError when `data` is nothing for this wrapper."""

    def to_json(self) -> str:
        """Write the value as it is now as JSON text."""
        return dump(self).decode()


def dump(data: Data) -> bytes:
    """Write a wrapper and its value as they are now.

    Returns:
        The JSON text of ``data.to_jcr()``. Nothing of it changes with the value later on.

    Raises:
        ValueError: It is no wrapper, or one of the user's writes what JSON has no form for.
    """
    if not issubclass(type(data), Data):
        raise invalid("data", data, "a wrapper, as otel_ml.types.wrap makes one")
    form = data.to_jcr()
    try:
        return orjson.dumps(form)
    except TypeError as error:
        raise ValueError(
            f"Invalid form of type {data.type_name!r}: expected to_jcr() to return what JSON knows"
        ) from error
