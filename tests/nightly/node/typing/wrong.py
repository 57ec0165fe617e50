"""Wrong uses of the public API: both checkers find an error in each marked line. Never run."""

from collections.abc import Iterator

import otel_ml
from otel_ml import Client

client = Client("shop")


@client.trace
def bare(a: int) -> str:
    return str(a)


@client.trace(name="model")
def called(a: int, *, b: bool) -> int:
    return a


@client.assess()
async def later(a: int) -> int:
    return a


@client.trace
def stream(a: int) -> Iterator[int]:
    yield a


bare("text")  # type: ignore[arg-type]  # wrong
bare(1, 2)  # type: ignore[call-arg]  # wrong
called(1, True)  # type: ignore[call-arg]  # wrong
number: int = bare(1)  # type: ignore[assignment]  # wrong
waited: int = later(1)  # type: ignore[assignment]  # wrong
text: Iterator[str] = stream(1)  # type: ignore[assignment]  # wrong
otel_ml.wrap(bare)(b=1)  # type: ignore[call-arg]  # wrong
client.trace(3)  # type: ignore[call-overload]  # wrong
client.trace(nothing="known")  # type: ignore[call-overload]  # wrong
otel_ml.trace(bare)("text")  # type: ignore[arg-type]  # wrong
