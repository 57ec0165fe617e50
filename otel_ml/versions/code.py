"""Code objects: convert them to text, compare them, find the global and closure names they read."""

import dis
import inspect
from bisect import bisect_left
from itertools import pairwise
from types import CodeType
from typing import Final

from otel_ml.versions.canonical import canonical_value

Read = tuple[str, ...]
"""A name that a function uses but does not define, then the attributes it reads from it."""

_GLOBAL_READS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_READS: Final = _GLOBAL_READS | {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_ATTRIBUTE_READS: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_JUMPS: Final = frozenset({*dis.hasjrel, *dis.hasjabs})
# Instructions around a call. The compiler chooses them depending on whether the called object was
# imported, that is on code outside the function.
_LINKAGE: Final = frozenset({"PUSH_NULL", "PRECALL", "EXTENDED_ARG", "CACHE", "NOP"})
_SAME: Final = {"LOAD_METHOD": "LOAD_ATTR"}


def canonical_code(code: CodeType) -> str:
    """Return bytecode as text, to detect changes of a function without source.

    The text differs between Python versions.
    """
    constants = [
        canonical_code(constant) if isinstance(constant, CodeType) else canonical_value(constant)
        for constant in code.co_consts
    ]
    handlers: bytes = getattr(code, "co_exceptiontable", b"")  # since Python 3.11
    return f"code({code.co_code.hex()},{handlers.hex()},{constants},{code.co_names},{_frame(code)})"


def canonical_parameters(code: CodeType) -> str:
    """Return the parameters of a code object as text, for functions without source."""
    count = code.co_argcount + code.co_kwonlyargcount
    stars = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return f"parameters({code.co_varnames[:count]},{_counts(code)},{stars})"


def is_same_code(code_type: CodeType, other: CodeType) -> bool:
    """Tell whether two code objects do the same, even if they come from different files."""
    return canonical_code(code_type) == canonical_code(other) or _steps(code_type) == _steps(other)


def inner_codes(code: CodeType) -> list[CodeType]:
    """Return a code object and all code objects inside it, outer ones first."""
    code_types = [code]
    for item in code_types:
        code_types += [constant for constant in item.co_consts if isinstance(constant, CodeType)]
    return code_types


def outside_names(code: CodeType) -> set[str]:
    """Return the names that a function uses from its module and closure, not its local variables.

    The result includes the names that functions inside it use.
    """
    return set(code.co_freevars) | {
        str(step.argval)
        for inner in inner_codes(code)
        for step in dis.get_instructions(inner)
        if step.opname in _GLOBAL_READS
    }


def code_reads(code: CodeType) -> list[Read]:
    """Return the global and closure names that bytecode reads, such as ``MODEL``.

    For ``config.limit.low``, both ``config`` and ``config.limit`` are returned. Further attributes
    are left out.
    """
    outside = outside_names(code)
    reads: set[Read] = {(name,) for name in outside}
    for inner in inner_codes(code):
        for step, following in pairwise(dis.get_instructions(inner)):
            is_read = step.opname in _READS and step.argval in outside
            if is_read and following.opname in _ATTRIBUTE_READS:
                reads.add((step.argval, str(following.argval)))
    return sorted(reads)


def _frame(code: CodeType) -> tuple[object, ...]:
    names = (code.co_varnames, code.co_freevars, code.co_cellvars)
    return names, _counts(code), code.co_flags & ~inspect.CO_NESTED


def _counts(code: CodeType) -> tuple[int, ...]:
    return code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount


def _steps(code: CodeType) -> list[object]:
    """Return the instructions of a code object without those that depend on call linkage."""
    listing = dis.Bytecode(code)
    steps = [step for step in listing if step.opname not in _LINKAGE]
    offsets = [step.offset for step in steps]
    items: list[object] = [_frame(code)]
    for entry in getattr(listing, "exception_entries", ()):  # since Python 3.11
        ends = (entry.start, entry.end, entry.target)
        items.append(([bisect_left(offsets, end) for end in ends], entry.depth, entry.lasti))
    for step in steps:
        value: object = step.argval
        if value == "__firstlineno__":  # since Python 3.13, a class stores its line number
            items.pop()
        if step.opcode in _JUMPS:
            value = bisect_left(offsets, step.argval)
        elif isinstance(value, CodeType):
            value = _steps(value)
        else:
            value = canonical_value(value)
        items.append((_SAME.get(step.opname, step.opname), value))
    return items
