"""Digests of inputs and outputs, computed in SQL when they are needed: equal values, equal digests.

The digest is that of the JSON text in canonical form, with sorted keys. It starts with a digest of
the words of the text in any order, which is thirty times cheaper. Texts with different words need
no canonical form.
"""

from typing import Final

from otel_ml.attributes import CAPTURE
from otel_ml_collector.store.sql import Sql

# Depth to which members of objects are sorted. Deeper objects keep the order of their members.
# Messages with parts that have arguments are five levels deep.
_LEVELS: Final = 6
# Sorts members of an object by name, and keeps the order of a list. The inner form occurs only
# once. Twice per level would be 64 times, and the engine would plan for seconds.
_FORM: Final = Sql("""if(NOT startsWith({text}, char(123)) AND NOT startsWith({text}, '['), {text},
    concat(left({text}, 1), arrayStringConcat(arraySort(
      (in_form, in_place) -> (if(startsWith({text}, '['), '', in_form), in_place),
      arrayMap(in_{level} -> concat(in_{level}.1, {inner}), {members}),
      arrayEnumerate({members})), ','),
    if(startsWith({text}, '['), ']', char(125))))""")
_MEMBERS: Final = Sql("""if(startsWith({text}, '['),
    arrayMap(in_part -> ('', in_part), JSONExtractArrayRaw({text})),
    arrayMap(in_member -> (concat(toJSONString(in_member.1), ':'), in_member.2),
      JSONExtractKeysAndValuesRaw({text})))""")
_HEX: Final = Sql("lower(hex(reinterpretAsFixedString({number})))")
WORDS_CHARS: Final = 16
# A value stored as a short description: its type, and a part of it. Different values may have the
# same description.
_TYPED: Final = Sql(r"""match({text}, '"type":"(bytes|\\w+(\\.\\w+)+)"')""")
_SHORT: Final = Sql("""multiSearchAny({text},
  ['"head":', '"repr":', '"mode":', '"choices":', '"awaitable":', '"columns":',
   '"attributes":'])""")


def canonical(text: Sql) -> Sql:
    """Write the canonical form of JSON text. Any other text stays unchanged."""
    # The engine finds no members in JSON that it cannot parse, such as integers of over 64 bits.
    return Sql("if(isValidJSON({text}), {form}, {text})").fill(text=text, form=_form(text, _LEVELS))


def _form(text: Sql, level: int) -> Sql:
    if not level:
        return text
    inner = _form(Sql("in_{level}.2").fill(level=level), level - 1)
    return _FORM.fill(text=text, level=level, members=_MEMBERS.fill(text=text), inner=inner)


def words_number(text: Sql) -> Sql:
    """Write a number that depends only on the words of a text, in any order."""
    return Sql("arraySum(arrayMap(word -> sipHash64(word), splitByNonAlpha({text})))").fill(
        text=text
    )


def words_digest(text: Sql) -> Sql:
    """Write the beginning of `digest`, 16 hex digits."""
    return _HEX.fill(number=words_number(text))


def digest(text: Sql) -> Sql:
    """Write the digest of JSON text, 32 hex digits."""
    form = _HEX.fill(number=Sql("sipHash64({form})").fill(form=canonical(text)))
    return Sql("concat({words}, {form})").fill(words=words_digest(text), form=form)


def is_cut(part: Sql) -> Sql:
    """Write whether inputs or outputs were cut or redacted, for a row with `attributes`.

    Args:
        part: Name of the column, `inputs` or `outputs`.
    """
    return Sql("""(position(attributes, '{capture}') > 0
      AND position(JSONExtractRaw(attributes, '{capture}'), '{part}') > 0)""").fill(
        capture=Sql(CAPTURE), part=part
    )


def is_short(text: Sql) -> Sql:
    """Write whether JSON text is the short description of a value, such as a large array."""
    return Sql("({typed} AND {short})").fill(
        typed=_TYPED.fill(text=text), short=_SHORT.fill(text=text)
    )


def is_whole(part: Sql) -> Sql:
    """Write whether inputs or outputs are stored completely, for a row with `attributes`."""
    return Sql("({part} != '' AND NOT {cut} AND NOT {short})").fill(
        part=part, cut=is_cut(part), short=is_short(part)
    )
