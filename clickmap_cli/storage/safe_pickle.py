"""Read pickled NumPy data from untrusted files.

`pickle` runs code that its input names. Object arrays in `.npz` and `.npy` files are pickles, and
the field exchanges such files, so they are read by an unpickler that supports only arrays, scalars
and plain Python values. Even NumPy's own reconstruction is not exposed to the file: its dtypes are
rebuilt here from a short list, because a forged dtype state can corrupt memory.

The standard library's Python unpickler does the work, not its C version: a few bytes can make the
C version fill gigabytes (a large memo index) or crash the interpreter (a deeply nested dictionary
key).
"""

from __future__ import annotations

import io
import pickle
import struct
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from clickmap_cli.runtime.errors import DataError, printable, short_reason

_ARRAY_KINDS = "biufcSUOMm?"
_TIME_UNITS = frozenset({
    "Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic",
})  # fmt: skip
_PLAIN = frozenset({str, bytes, int, float, complex, bool, type(None)})
_TEXTS = frozenset({str, bytes})
_LETTERS = 4
"""Number of letters that count as one value."""

_MAX_DEPTH = 50
_MAX_REPEATS = 64
_SPARE_VALUES = 1_000_000


def load_pickle(data: bytes, name: str) -> Any:
    """Load a pickle of arrays, scalars, strings, lists, tuples and dicts.

    Args:
        data: the pickle's bytes.
        name: name of the data, for messages.

    Raises:
        DataError: the pickle holds anything else, or is damaged. None of its code has run.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # forged names and escapes cause deprecation warnings
            loaded = _Restricted(io.BytesIO(data)).load()
            return _Resolver(_MAX_REPEATS * len(data) + _SPARE_VALUES).value_of(loaded)
    except _RefusedError as refused:
        raise DataError(
            f"{name}: refused to load it: it holds {refused}, not only arrays, numbers, text, "
            "lists, tuples and dicts. It may be an attack; nothing was run."
        ) from refused
    except (
        pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError,
        AttributeError, OverflowError, MemoryError, RecursionError, UnicodeDecodeError,
        AssertionError, SyntaxError, struct.error,
    ) as error:  # fmt: skip
        raise DataError(
            f"{name}: the pickled data in it is damaged ({short_reason(error)})."
        ) from error


class _RefusedError(Exception):
    """Raised if the pickle names something that is not on the list."""


class _DType:
    """Replacement of numpy.dtype during unpickling; it accepts only plain kinds."""

    def __init__(self, spec: Any, *_: Any) -> None:
        if not isinstance(spec, str) or len(spec) > 16:
            raise _RefusedError("a structured dtype")
        dtype = np.dtype(spec)
        if dtype.kind not in _ARRAY_KINDS or dtype.fields or dtype.subdtype:
            raise _RefusedError(f"an array of type {spec!r}")
        self.dtype = dtype

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subdtype, names, fields, size, alignment, flags[, metadata])
        if len(state) not in (8, 9) or any(part is not None for part in state[2:5]):
            raise _RefusedError("a structured dtype")
        if self.dtype.kind in "Mm" and len(state) == 9 and state[8] is not None:
            unit, count = state[8][1][:2]
            unit = unit.decode("ascii") if isinstance(unit, bytes) else str(unit)
            if unit not in _TIME_UNITS:
                raise _RefusedError("a structured dtype")
            self.dtype = np.dtype(f"{self.dtype.kind}8[{int(count)}{unit}]")
        if state[1] in (">", "<"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Replacement of numpy.ndarray during unpickling; it is checked against its own shape."""

    value: Any = None
    items: list[Any] | None = None
    """Items of an object array, in C order whatever the array's own order is."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _DType):
            raise _RefusedError("an array without a dtype")
        if dtype.dtype.kind == "O":
            if not isinstance(raw, list):
                raise ValueError("an object array without a list")
            self.items = raw
            self.value = np.empty(len(raw), dtype=object).reshape(shape)
        else:
            if not isinstance(raw, bytes):
                raise ValueError("an array without bytes")
            self.value = _fill(raw, dtype, shape, "F" if fortran else "C")


class _Name:
    """Replacement of a global name in a pickle; callable only if it maps to a function here."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any] | None) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        if self._function is None:
            raise _RefusedError("an unusual array")
        return self._function(*args)


_NDARRAY = _Name(None)


def _fill(raw: Any, dtype: _DType, shape: Any, order: Any) -> Any:
    values = np.frombuffer(bytearray(raw), dtype=dtype.dtype)
    check_text(values)
    return values.reshape(shape, order="F" if order == "F" else "C")


def check_text(values: Any) -> None:
    """Raise unless every code in an array of text is a character; NumPy accepts any code.

    Raises:
        ValueError: a code is not a Unicode character.
    """
    if values.dtype.kind == "U" and values.size:
        codes = np.ascontiguousarray(values).view(f"{values.dtype.str[0]}u4")
        if codes.max() > 0x10FFFF:
            raise ValueError("text that is not Unicode")


def _reconstruct(subtype: Any, shape: Any, _code: Any) -> _Array:
    if subtype is not _NDARRAY or tuple(shape) != (0,):
        raise _RefusedError("an unusual array")
    return _Array()


def _scalar(dtype: Any, raw: Any) -> Any:
    if not isinstance(dtype, _DType) or dtype.dtype.kind == "O" or not isinstance(raw, bytes):
        raise _RefusedError("an unusual scalar")
    if len(raw) != dtype.dtype.itemsize:
        raise ValueError("a scalar of another size than its type")
    if not raw:
        return dtype.dtype.type()  # an empty text
    return _fill(raw, dtype, (1,), "C")[0]


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any) -> Any:
    """Build a contiguous array; pickle protocol 5 calls this."""
    plain = isinstance(dtype, _DType) and dtype.dtype.kind != "O"
    if not plain or not isinstance(raw, bytes | bytearray):
        raise _RefusedError("an unusual array")
    return _fill(raw, dtype, shape, order)


def _encode(text: Any, encoding: Any) -> bytes:
    """Encode text as bytes; pickle protocol 2 calls this, because it stores bytes as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _RefusedError("a call of codecs.encode")
    return text.encode("latin1")


def _complex(real: Any, imaginary: Any) -> complex:
    if not (isinstance(real, float) and isinstance(imaginary, float)):
        raise _RefusedError("an unusual number")
    return complex(real, imaginary)


def _no_bytes(*given: Any) -> bytes:
    """Return empty bytes; pickle protocol 2 calls this for them."""
    if given:
        raise _RefusedError("a call of bytes")
    return b""


_ALLOWED: dict[tuple[str, str], _Name] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Name(_DType),
    ("_codecs", "encode"): _Name(_encode),
    **{
        (module, name): _Name(function)
        for module in ("builtins", "__builtin__")
        for name, function in (("complex", _complex), ("bytes", _no_bytes))
    },
    **{
        (f"numpy.{core}.{module}", name): _Name(function)
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}


def _refuse_with(what: str) -> Callable[[Any], None]:
    def refuse(_unpickler: Any) -> None:
        raise _RefusedError(what)

    return refuse


_REFUSED_CODES = {
    "a reference to something outside the file": (
        pickle.PERSID, pickle.BINPERSID, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.EXT1,
        pickle.EXT2, pickle.EXT4,
    ),
    "an object": (pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX),
    "a set": (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
}  # fmt: skip


class _Restricted(pickle._Unpickler):  # noqa: SLF001 - the C version is unsafe, see above
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[(module, name)]
        except KeyError:
            raise _RefusedError(f"'{printable(f'{module}.{name}')}'") from None

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise _RefusedError("a call of something that is not a function")
        self.stack[-1] = function(*arguments)

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, _Array | _DType):
            raise _RefusedError(f"a changed {type(target).__name__.strip('_')}")
        target.__setstate__(state)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._set_items(self.stack[-1], items)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(self.stack[-1], items)

    def load_bytearray8(self) -> None:
        # the library allocates the stated size before it checks how many bytes follow
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(min(size, 1 << 62))))

    @staticmethod
    def _set_items(target: Any, items: list[Any]) -> None:
        if not isinstance(target, dict):
            raise _RefusedError("a changed value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            parts = key if type(key) is tuple else (key,)
            # hashing a deeply nested tuple overflows the stack of the interpreter
            if not all(type(part) in _PLAIN or isinstance(part, np.generic) for part in parts):
                raise _RefusedError("a dictionary with unusual keys")
            target[key] = value

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,  # noqa: SLF001
        **{code[0]: _refuse_with(w) for w, codes in _REFUSED_CODES.items() for code in codes},
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }


class _Resolver:
    """Replaces every placeholder by its value.

    A list that holds another list twice, which holds another list twice, and so on, is a short
    pickle but an endless text. Values are therefore counted each time they occur.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._done: dict[int, tuple[Any, int] | None] = {}

    def value_of(self, loaded: Any) -> Any:
        return self._checked(self._resolved(loaded, 0))[0]

    def _checked(self, done: tuple[Any, int]) -> tuple[Any, int]:
        if done[1] > self._most:
            raise ValueError("a value is repeated too often")
        return done

    def _resolved(self, value: Any, depth: int) -> tuple[Any, int]:
        """Return the value, and the number of values it holds; a few letters count as one."""
        kind = type(value)
        if kind in _PLAIN or isinstance(value, np.generic):
            return value, 1 + (len(value) // _LETTERS if kind in _TEXTS else 0)
        if kind in (list, tuple):
            kinds = set(map(type, value))
            if kinds <= _PLAIN:
                letters = 0
                if kinds & _TEXTS:
                    letters = sum(len(item) for item in value if type(item) in _TEXTS)
                return value, len(value) + 1 + letters // _LETTERS
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        if id(value) in self._done:
            done = self._done[id(value)]
            if done is None:
                raise ValueError("a value holds itself")
            return done
        self._done[id(value)] = None
        done = self._checked(self._container(value, depth + 1))
        self._done[id(value)] = done
        return done

    def _container(self, value: Any, depth: int) -> tuple[Any, int]:
        if isinstance(value, _Array):
            if value.value is None:
                raise ValueError("an array without content")
            if value.items is None:
                return value.value, value.value.size + 1
            items, size = self._items(value.items, depth)
            flat = value.value.reshape(-1)
            for i, item in enumerate(items):
                flat[i] = item
            return value.value, size
        if isinstance(value, np.ndarray):
            return value, value.size + 1
        if isinstance(value, list | tuple):
            items, size = self._items(value, depth)
            return type(value)(items), size
        if isinstance(value, dict):
            items, size = self._items(value.values(), depth)
            return dict(zip(value, items, strict=True)), size + len(value)
        raise _RefusedError(f"a {type(value).__name__.strip('_')}")

    def _items(self, values: Iterable[Any], depth: int) -> tuple[list[Any], int]:
        pairs = [self._resolved(value, depth) for value in values]
        return [item for item, _ in pairs], 1 + sum(size for _, size in pairs)
