"""Tables in the HDF5 layout of pandas, written without PyTables."""

from __future__ import annotations

import pickle

import h5py
import numpy as np


def fixed(path, columns, rows, blocks, key="df_with_missing") -> None:
    """A data frame as `DataFrame.to_hdf(format="fixed")` lays it out.

    `columns` and `rows` are tuples of text, or text; `blocks` are (columns' places, values) pairs.
    """
    with h5py.File(path, "w") as file:
        group = file.create_group(key)
        group.attrs["pandas_type"] = np.bytes_(b"frame")
        group.attrs["nblocks"] = np.int64(len(blocks))
        axis(group, "axis0", columns)
        axis(group, "axis1", rows)
        for number, (places, values) in enumerate(blocks):
            axis(group, f"block{number}_items", [columns[at] for at in places])
            group[f"block{number}_values"] = values


def axis(group, name, labels) -> None:
    """Labels of one level as an array; of several as codes into the sorted labels of each."""
    if isinstance(labels[0], tuple):
        group.attrs[f"{name}_variety"] = np.bytes_(b"multi")
        group.attrs[f"{name}_nlevels"] = np.int64(len(labels[0]))
        for level, words in enumerate(zip(*labels, strict=True)):
            known = sorted(set(words))
            group[f"{name}_level{level}"] = texts(known)
            group[f"{name}_label{level}"] = np.array([known.index(w) for w in words], np.int8)
    else:
        group.attrs[f"{name}_variety"] = np.bytes_(b"regular")
        group[name] = np.array(labels) if isinstance(labels[0], int) else texts(labels)


def table(path, columns, rows, values, key="df_with_missing") -> None:
    """A data frame as `DataFrame.to_hdf(format="table")` lays it out; one block of values."""
    index = np.array(rows) if isinstance(rows[0], int) else texts(rows)
    dtype = [("index", index.dtype), ("values_block_0", "<f8", (len(columns),))]
    records = np.zeros(len(rows), dtype)
    records["index"], records["values_block_0"] = index, values
    with h5py.File(path, "w") as file:
        group = file.create_group(key)
        group.attrs["pandas_type"] = np.bytes_(b"frame_table")
        group["table"] = records
        group["table"].attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(list(columns), 0))


def texts(words) -> np.ndarray:
    return np.array([word.encode() for word in words])
