"""Reading pickled NumPy data from strangers.

`pickle` runs code that its input names. Object arrays in `.npz` and `.npy` files are pickles, and
the field exchanges such files, so they are read by an unpickler that knows arrays, scalars and
plain Python values and nothing else. Even NumPy's own reconstruction is not handed to the file:
its dtypes are rebuilt here from a short list, because a forged dtype state can corrupt memory.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from clickmap_cli.runtime.errors import DataError

_ARRAY_KINDS = "biufcSUOMm?"
_MAX_DEPTH = 50


def load_pickle(data: bytes, name: str) -> Any:
    """The value in a pickle of arrays, scalars, strings, lists, tuples and dicts.

    Args:
        data: the pickle's bytes.
        name: what is read, for messages.

    Raises:
        DataError: the pickle holds anything else, or is damaged. Nothing of it has run.
    """
    try:
        return _resolved(_Restricted(io.BytesIO(data)).load(), 0)
    except _RefusedError as refused:
        raise DataError(
            f"{name}: refused to load it: it holds {refused}, not only arrays, numbers, text, "
            "lists, tuples and dicts. It may be an attack; nothing was run."
        ) from refused
    except (
        pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError,
        AttributeError, OverflowError, MemoryError, RecursionError, UnicodeDecodeError,
    ) as error:  # fmt: skip
        raise DataError(f"{name}: the pickled data in it is damaged ({error}).") from error


class _RefusedError(Exception):
    """The pickle names something that is not on the list."""


class _DType:
    """Stands for numpy.dtype while unpickling; only plain kinds come out."""

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
            self.dtype = np.dtype(f"{self.dtype.kind}8[{int(count)}{unit}]")
        if state[1] in (">", "<"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for numpy.ndarray while unpickling; checked against its own shape."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _DType):
            raise _RefusedError("an array without a dtype")
        if dtype.dtype.kind == "O":
            if not isinstance(raw, list) or len(raw) != int(np.prod(shape, dtype=object)):
                raise ValueError("an object array whose content does not fill its shape")
            flat = np.empty(len(raw), dtype=object)
            for i, item in enumerate(raw):
                flat[i] = item
        else:
            if not isinstance(raw, bytes):
                raise ValueError("an array without bytes")
            flat = np.frombuffer(raw, dtype=dtype.dtype)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


class _Name:
    """What a pickle's global name becomes: callable only where it stands for a function here.

    It has no state to set, so a file cannot change it.
    """

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any] | None) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        if self._function is None:
            raise _RefusedError("an unusual array")
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise _RefusedError("a changed function")


_NDARRAY = _Name(None)


def _reconstruct(subtype: Any, shape: Any, _code: Any) -> _Array:
    if subtype is not _NDARRAY or tuple(shape) != (0,):
        raise _RefusedError("an unusual array")
    return _Array()


def _scalar(dtype: Any, raw: Any) -> Any:
    if not isinstance(dtype, _DType) or dtype.dtype.kind == "O" or not isinstance(raw, bytes):
        raise _RefusedError("an unusual scalar")
    return np.frombuffer(raw, dtype=dtype.dtype, count=1)[0]


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any) -> Any:
    """What pickle protocol 5 calls for contiguous arrays."""
    if not isinstance(dtype, _DType) or dtype.dtype.kind == "O":
        raise _RefusedError("an unusual array")
    return np.frombuffer(bytes(raw), dtype=dtype.dtype).reshape(
        shape, order="F" if order == "F" else "C"
    )


def _encode(text: Any, encoding: Any) -> bytes:
    """What pickle protocol 2 calls to write bytes as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _RefusedError("a call of codecs.encode")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], _Name] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Name(_DType),
    ("_codecs", "encode"): _Name(_encode),
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


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[(module, name)]
        except KeyError:
            raise _RefusedError(f"'{module}.{name}'"[:120]) from None

    def persistent_load(self, _pid: Any) -> Any:
        raise _RefusedError("a reference to something outside the file")


def _resolved(value: Any, depth: int) -> Any:
    """The value with every stand-in replaced by what it stands for."""
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, _Array):
        value = value.value
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            for index, item in enumerate(value.flat):
                value.flat[index] = _resolved(item, depth + 1)
        return value
    if isinstance(value, list | tuple):
        return type(value)(_resolved(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return {_resolved(k, depth + 1): _resolved(v, depth + 1) for k, v in value.items()}
    if isinstance(value, str | bytes | int | float | complex | bool | np.generic) or value is None:
        return value
    raise _RefusedError(f"a {type(value).__name__}")
