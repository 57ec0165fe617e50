"""Mutes: alerts that are evaluated and shown, but not sent until a time."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from otel_ml_collector.alerts.rule import Dimension, SliceKey
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import BadInput, Missing, suggest
from otel_ml_collector.filter.grammar import (
    Both,
    Either,
    FieldComparison,
    Not,
    Tree,
    comparisons_of,
    parse,
)
from otel_ml_collector.store.documents import (
    Document,
    DocumentKind,
    Documents,
    list_documents,
    read_document,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import from_rfc3339, to_rfc3339

MUTE: Final = DocumentKind("mute", most=500, limit_bytes=256 * 1024, noted_as="mute")
# Earlier versions that a mute keeps.
MOST_EARLIER: Final = 10


class WantedMute(BaseModel):
    """A mute to save: which slices, until when, and why."""

    model_config = ConfigDict(extra="forbid")

    rule: Annotated[str, Field(max_length=64)] = Field(
        default="", description="Name of the rule; empty for every rule"
    )
    where: Annotated[str, Field(max_length=1_000)] = Field(
        default="",
        description='Filter of the slices to mute, such as client == "Remax"; empty for all slices',
    )
    until: Annotated[str, Field(max_length=64)] = Field(description="When the mute ends, RFC 3339")
    who: Annotated[str, Field(max_length=256)] = Field(
        default="", description="Who mutes the rule. Default: the name of the key"
    )
    why: Annotated[str, Field(max_length=1_000)] = ""


class EarlierMute(WantedMute):
    """An earlier version of a mute."""

    version: int = Field(description="Number of times the mute was saved")
    saved_time: str = Field(description="When this version was saved, RFC 3339 in UTC")


class Mute(EarlierMute):
    """A saved mute."""

    name: str
    earlier: list[EarlierMute] = Field(
        default=[], description="Earlier versions of the mute, newest first, at most 10"
    )

    @property
    def until_ns(self) -> int:
        """When the mute ends, in nanoseconds since 1970."""
        return from_rfc3339(self.until, "until")

    def covers(self, rule: str, labels: Mapping[str, str], now_ns: int) -> bool:
        """Return whether the mute covers a slice of a rule."""
        if self.until_ns <= now_ns or self.rule not in {"", rule}:
            return False
        tree = parse(self.where)
        return tree is None or _is_of(tree, labels)


class Mutes(AnswerBody):
    """The mutes of a project that have not ended, by name."""

    mutes: list[Mute]


def find_mutes(reader: Reader, project: str, now_ns: int) -> list[Mute]:
    """Find the mutes of a project that have not ended, by name."""
    mutes = [make_mute(document) for document in list_documents(reader, project, MUTE)]
    return [mute for mute in mutes if mute.until_ns > now_ns]


def make_mute(document: Document) -> Mute:
    """Read a mute from its document."""
    return Mute(
        name=document.name,
        version=document.version,
        saved_time=to_rfc3339(document.saved_ns),
        **document.body,
    )


def find_mute(reader: Reader, project: str, name: str, version: int | None = None) -> Mute:
    """Read the newest or an earlier version of a mute.

    Raises:
        Missing: There is no mute of that name, or that version of it was not kept.
    """
    mute = make_mute(read_document(reader, project, MUTE, name))
    if version in {None, mute.version}:
        return mute
    for place, before in enumerate(mute.earlier):
        if before.version == version:
            rest = mute.earlier[place + 1 :]
            return Mute(name=name, **{**before.model_dump(), "earlier": rest})
    raise Missing(f"There is no version {version} of the mute {name[:80]!r}")


def save_mute(
    reader: Reader,
    project: str,
    name: str,
    wanted: WantedMute,
    store: Documents,
    *,
    base: int | None = None,
) -> Mute:
    """Save a mute: alerts of a rule, or of some of its slices, are not sent until a given time.

    If the project has a mute with this name, the mute gets a new version, and its last 10 earlier
    versions are kept.

    Args:
        reader: Reads the store.
        project: The project.
        name: Name of the mute.
        wanted: The mute to save.
        store: Writes the mute.
        base: Number of the version that you expect to replace, 0 for a new mute. If None, the
            newest version is replaced.

    Raises:
        BadInput: The project has too many mutes, or the mute is too large.
        Conflict: The newest version of the mute is not `base`, or another request saved the mute
            at the same time.
    """
    try:
        before = find_mute(reader, project, name)
    except Missing:
        before = None
    earlier: list[EarlierMute] = []
    if before is not None:
        own = EarlierMute(**before.model_dump(exclude={"name", "earlier"}))
        earlier = [own, *before.earlier][:MOST_EARLIER]
    body = {**wanted.model_dump(), "earlier": [each.model_dump() for each in earlier]}
    newest = before.version if before else 0
    base = newest if base is None else base
    return make_mute(store.save(reader, project, MUTE, name, body, base=base))


def check_mute(wanted: WantedMute, by: Sequence[Dimension] | None) -> None:
    """Check a mute before it is saved.

    Args:
        wanted: The mute.
        by: The fields and tags by which the muted rule groups its runs; None if the mute is for
            every rule.

    Raises:
        BadInput: The end time or the filter of the mute is invalid, or the filter names a field or
            tag by which the rule does not group.
    """
    from_rfc3339(wanted.until, "until")
    for comparison in comparisons_of(parse(wanted.where)):
        name, _ = _read_comparison(comparison)
        if by is not None and name not in (known := [dimension.name for dimension in by]):
            hint = suggest(name, known) if known else "the rule does not group its runs"
            raise BadInput(f"Unknown label {name!r}: {hint}", "where", comparison.field.column)


def mute_of(
    mutes: Iterable[Mute], rule: str, key: SliceKey, by: tuple[Dimension, ...], now_ns: int
) -> Mute | None:
    """Return the mute of a slice that ends last; None if it is not muted."""
    labels = key.labels(by)
    muting = [mute for mute in mutes if mute.covers(rule, labels, now_ns)]
    return max(muting, key=lambda mute: mute.until_ns, default=None)


def _is_of(tree: Tree, labels: Mapping[str, str]) -> bool:
    """Return whether labels pass a filter. It can name a tag directly, without `tags[...]`."""
    match tree:
        case Both(parts):
            return all(_is_of(part, labels) for part in parts)
        case Either(parts):
            return any(_is_of(part, labels) for part in parts)
        case Not(part):
            return not _is_of(part, labels)
        case FieldComparison():
            name, texts = _read_comparison(tree)
            label = labels.get(name)
            if tree.operator in {"==", "in"}:
                return label in texts
            return label is not None and label not in texts


def _read_comparison(tree: FieldComparison) -> tuple[str, list[str]]:
    """Return the label in a comparison, and the values that it is compared with.

    Raises:
        BadInput: The comparison is not about a label.
    """
    field = tree.field
    name = field.key if field.name == "tags" else field.name
    values = tree.value if isinstance(tree.value, tuple) else (tree.value,)
    if (
        name is None
        or (field.path and field.name != "tags")
        or tree.operator not in {"==", "!=", "in", "not in"}
        or not all(isinstance(value, str | int | float) for value in values)
    ):
        raise BadInput(
            'Expected a comparison of a label such as client == "Remax", with == != or in',
            "where",
            field.column,
        )
    return name, [str(value) for value in values]
