"""Owns the cheap proof that a record reads back from JSON as it was written, made without writing or reading it.

JSON has no NaN (msgspec writes null) and the encoder checks no types, so a record with a wrong value would get a
position and could never be replayed. For each shape one function is compiled that compares the exact type of every
field; it costs a fifth of decoding the line again. True is a proof. False only says "not sure": the caller then decodes
the line and compares, which alone refuses. Shapes with types that are not listed here are never sure.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, NewType, Union, get_args, get_origin

from msgspec import Struct
from msgspec.structs import fields

Proof = Callable[[object], bool]

# Exact types only: True is an int to Python and not to JSON, and a subclass may write itself in another way. Integers
# past 64 bits and halves of surrogate pairs are refused by the encoder itself.
_PLAIN: Final = {str: "str", int: "int", bool: "bool"}


def proof_of(shape: type[Struct]) -> Proof:
    """Return the function that says whether a value is surely of this shape, through and through."""
    return _Compiler().struct(shape)


def _bare(kind: Any) -> Any:
    """Return the type that a value has at run time: without its name of ours and what is annotated to it."""
    while isinstance(kind, NewType) or get_origin(kind) is Annotated:  # ends: each round takes one layer off
        kind = kind.__supertype__ if isinstance(kind, NewType) else get_args(kind)[0]
    return kind


class _Compiler:
    """Builds one expression for each field; what an expression needs beside literals gets a name in `names`."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}

    def struct(self, shape: type[Struct]) -> Proof:
        checks = [f"type(value) is {self._named(shape)}"]
        checks += [self._check(field.type, f"value.{field.name}") for field in fields(shape)]
        source = f"lambda value: {' and '.join(checks)}"
        proof: Proof = eval(source, self.names)  # only names of our own shapes are in it
        return proof

    def _check(self, kind: Any, value: str) -> str:
        kind = _bare(kind)
        if kind is type(None):
            return f"{value} is None"
        if kind in _PLAIN:
            return f"type({value}) is {_PLAIN[kind]}"
        if isinstance(kind, type) and issubclass(kind, Struct):
            return f"{self._named(self._inner(kind))}({value})"
        return self._check_generic(get_origin(kind), get_args(kind), value)

    def _check_generic(self, origin: Any, arguments: tuple[Any, ...], value: str) -> str:
        if origin is Literal and all(type(argument) is str for argument in arguments):
            return f"type({value}) is str and {value} in {self._named(frozenset(arguments))}"
        if origin in (Union, types.UnionType):
            return self._check_union(arguments, value)
        if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"type({value}) is tuple and {self._all(arguments[0], value)}"
        if origin is dict:
            keys, values = self._all(arguments[0], value), self._all(arguments[1], f"{value}.values()")
            return f"type({value}) is dict and {keys} and {values}"
        return "False"

    def _check_union(self, arguments: tuple[Any, ...], value: str) -> str:
        """Check the alternatives; among several Structs none, as they may hold themselves: then it is not sure."""
        shapes = [each for each in arguments if isinstance(each, type) and issubclass(each, Struct)]
        checks = [self._check(each, value) for each in arguments if len(shapes) < 2 or each not in shapes]
        return f"({' or '.join(checks)})"

    def _all(self, kind: Any, values: str) -> str:
        kind = _bare(kind)
        if kind in _PLAIN:
            return f"{self._named(frozenset({kind}))}.issuperset(map(type, {values}))"
        return f"all(map({self._named(self._inner(kind))}, {values}))"

    def _inner(self, kind: Any) -> Proof:
        if isinstance(kind, type) and issubclass(kind, Struct):
            return proof_of(kind)
        inner: Proof = eval(f"lambda value: {self._check(kind, 'value')}", self.names)  # as above
        return inner

    def _named(self, thing: object) -> str:
        name = f"_{len(self.names)}"
        self.names[name] = thing
        return name
