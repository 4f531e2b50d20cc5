"""Files of arrays: pickles, NumPy's, MATLAB's, HDF5, torch's checkpoints, pictures."""

from __future__ import annotations

import io
import pickle
import random
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from clickmap_cli.clickmaps.image_files import read_mask
from clickmap_cli.clickmaps.reading.side_tables import read_categories, read_sizes
from clickmap_cli.datasets.formats.pysaliency import pysaliency
from clickmap_cli.datasets.keypoint_tables import read_labels
from clickmap_cli.runtime.errors import ClickmapError
from clickmap_cli.storage.map_store import (
    KINDS,
    Compression,
    MapStore,
    StoredImage,
    compress_image,
    write_hdf5,
    write_index,
)
from clickmap_cli.storage.pandas_hdf5 import read_pandas_table
from clickmap_cli.storage.safe_arrays import read_npy, read_tensors
from clickmap_cli.storage.safe_images import image_size, read_image_with_changes
from clickmap_cli.storage.safe_mat import mat_array, read_mat
from clickmap_cli.storage.safe_pickle import load_pickle
from tests.faults.fuzz.mutation import (
    Bytewise,
    in_mat,
    in_npy,
    in_png,
    inside_zip,
    mutated,
    opcodes,
    plain,
)
from tests.faults.fuzz.target import Target, any_reads
from tests.helpers.payloads import Call
from tests.helpers.tables import object_array
from tests.storage.pandas_layout import fixed, table

_PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None), np.generic)


def _pickle_seeds(_folder: Path) -> list[bytes]:
    inner = object_array([[1, (2.5, "é")], np.arange(3), {"k": np.float32(1)}])
    values: tuple[Any, ...] = (
        [inner, np.array(["a", "bc"]), b"x" * 30, None, True, 1 << 80],
        np.array(["2024-05-17", "NaT"], "M8[D]"),
        {"a": {"b": (1, 2)}, (1, 2): np.zeros((2, 3), order="F")},
        [bytearray(b"ab"), complex(1, 2), np.int64(3), np.str_("x")],
        Call(print, ["x"]), {1, 2}, Path("x"), OrderedDict(a=1),
    )  # fmt: skip
    return [pickle.dumps(value, protocol) for value in values for protocol in (0, 2, 4, 5)]


def _run_pickle(data: bytes, _folder: Path) -> bool:
    _assert_plain(load_pickle(data, "the file"), set())
    return True


def _assert_plain(value: Any, known: set[int]) -> None:
    """Nothing but arrays and plain values came out."""
    if id(value) in known or isinstance(value, _PLAIN):
        return
    known.add(id(value))
    if isinstance(value, np.ndarray):
        inner = value.ravel().tolist() if value.dtype.kind == "O" else []
    elif type(value) is dict:
        inner = [*value, *value.values()]
    else:
        assert type(value) in (list, tuple), f"a {type(value)} came out"
        inner = list(value)
    for item in inner:
        _assert_plain(item, known)


# --- .npy -------------------------------------------------------------------------------------


def _npy_seeds(_folder: Path) -> list[bytes]:
    arrays = (
        np.linspace(0, 1, 6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(["é", "", "abc"]), np.array(["2024-05-17", "NaT"], "M8[D]"),
        object_array(["cats", "dogs", None]), np.zeros(2, [("a", "i4"), ("b", "f8", (2,))]),
        np.array({"a.jpg": (640, 480), "b.jpg": [np.int64(3), 4]}, dtype=object),
        np.zeros((3, 4, 3), np.uint8), np.array(True), object_array([Call(print, ["x"])]),
    )  # fmt: skip
    seeds = []
    for array in arrays:
        out = io.BytesIO()
        np.lib.format.write_array(out, array, allow_pickle=True)
        seeds.append(out.getvalue())
    return seeds


def _run_npy(data: bytes, folder: Path) -> bool:
    path = folder / "a.npy"
    path.write_bytes(data)
    return any_reads(path, read_npy, read_mask, read_categories, read_sizes)


# --- torch ------------------------------------------------------------------------------------


def _checkpoint_seeds(folder: Path) -> list[bytes]:
    import torch

    from clickmap_cli.metrics.classification import Platt
    from clickmap_cli.models.click_gru import ClickGRU, FeatureSettings
    from clickmap_cli.models.participant_quality import QualityModel, save_quality

    features = FeatureSettings()
    network = ClickGRU(len(features.names), 2, 1)
    save_quality(
        folder / "q.pt", QualityModel(network, features, 2, 1, Platt(1.0, 0.0), about={"a": 1})
    )
    values: tuple[Any, ...] = (
        {"state_dict": {"a": torch.zeros(2, 3), "b": torch.arange(3)}, "epoch": 1},
        [torch.zeros(1, 3, 4), torch.ones(3, 4), ("cats",)],
        {"a": torch.zeros(2, dtype=torch.bfloat16), "b": torch.nn.Parameter(torch.zeros(2))},
        [torch.zeros(2, 3).to_sparse(), torch.zeros(2, dtype=torch.complex64).conj()],
        OrderedDict(a=torch.zeros(2, 2).t(), b=torch.zeros(1).expand(5, 5)),
        torch.zeros(2, 2, dtype=torch.uint8), {"model": Call(print, ["x"])},
    )  # fmt: skip
    seeds = [(folder / "q.pt").read_bytes()]
    for value in values:
        for new in (True, False):
            out = io.BytesIO()
            torch.save(value, out, _use_new_zipfile_serialization=new)
            seeds.append(out.getvalue())
    return seeds


def _run_checkpoint(data: bytes, folder: Path) -> bool:
    from clickmap_cli.models.participant_quality import load_quality
    from clickmap_cli.models.weights import read_state
    from clickmap_cli.training.checkpoints import load

    path = folder / "a.pth"
    path.write_bytes(data)
    return any_reads(path, read_tensors, read_mask, read_state, load_quality, load)


# --- MATLAB -----------------------------------------------------------------------------------


def _mat_seeds(folder: Path) -> list[bytes]:
    from scipy import io as scipy_io
    from scipy import sparse

    cells = object_array([np.ones((2, 2)), "word", np.zeros((0, 0))])
    values = {
        "gaze": {"fixations": np.array([[1, 2], [3, 4]], np.uint16), "name": "x"}, "cells": cells,
        "lines": np.array(["ab", "cd"]), "f4": np.float32([[1, 2.5]]), "c": np.array([[1 + 2j]]),
        "sparse": sparse.csc_array(np.eye(3, 4)), "yes": np.array([[True, False]]),
    }  # fmt: skip
    path = folder / "a.mat"
    seeds = []
    for names in (["gaze"], ["cells"], ["lines", "f4"], ["c", "yes"], ["sparse"], list(values)):
        for small in (True, False):
            scipy_io.savemat(path, {n: values[n] for n in names}, do_compression=small)
            seeds.append(path.read_bytes())
    scipy_io.savemat(path, {"a": np.ones((2, 2))}, format="4")
    return [*seeds, path.read_bytes()]


def _run_mat(data: bytes, folder: Path) -> bool:
    path = folder / "a.mat"
    path.write_bytes(data)
    return any_reads(path, read_mat, mat_array, partial(read_mat, names=["gaze"]))


# --- HDF5 -------------------------------------------------------------------------------------


def _hdf5_seeds(folder: Path) -> list[bytes]:
    path = folder / "a.h5"
    columns = [("me", part, axis) for part in ("nose", "eye") for axis in "xy"]
    rows = [("labeled-data", "a", "1.png"), ("labeled-data", "a", "2.png")]
    values = np.array([[1.5, 2, 3, 4.25], [np.nan, np.nan, 0, 11]])
    seeds = []
    for index in (rows, ["a/1.png", "a/2.png"], [0, 1]):
        fixed(path, columns, index, [(range(4), values)])
        seeds.append(path.read_bytes())
    table(path, columns, ["a/1.png", "a/2.png"], values)
    seeds.append(path.read_bytes())
    maps = np.arange(30, dtype=np.float32).reshape(2, 3, 5)
    image = StoredImage("a/1.png", "a_1.png", 2, 9, {"clickmap": maps[:1], "participants": maps})
    for compression in (Compression(), Compression("lzf"), Compression(None)):
        write_hdf5(path, [compress_image(image, compression)], {"n": 1}, compression)
        seeds.append(path.read_bytes())
    write_index(path, {"maps.h5": ["a_1.png"], "../../outside/maps.h5": ["b"]}, {"n": 2})
    seeds.append(path.read_bytes())
    return [*seeds, *_library_seeds(path)]


def _library_seeds(path: Path) -> list[bytes]:
    """pysaliency's files, MATLAB's of version 7.3, and what leads out of a file."""
    seeds = []
    with h5py.File(path, "w") as file:
        file.attrs.update({"type": "Stimuli", "version": "1.1", "size": 2, "__attributes__": "[]"})
        file["0"], file["1"] = np.zeros((4, 4, 3), np.uint8), np.ones((3, 5), np.uint8)
    seeds.append(path.read_bytes())
    with h5py.File(path, "w") as file:
        file.attrs.update({"type": "FixationTrains", "version": "1.2"})
        for name, array in (("xs", np.ones((2, 3))), ("ys", np.ones((2, 3))), ("ns", [0, 1])):
            file[f"train_{name}"] = array
        file["train_subjects"], file["subject_names"] = [0, 1], ["ann", "bob"]
    seeds.append(path.read_bytes())
    with h5py.File(path, "w", userblock_size=512) as file:
        file["a"], file["w"] = np.arange(6.0).reshape(2, 3), np.array([[99, 97]], np.uint16)
        file["w"].attrs["MATLAB_class"] = np.bytes_(b"char")
        file["e"] = np.array([0, 3], np.uint64)
        file["e"].attrs["MATLAB_empty"] = np.uint8(1)
    seeds.append(path.read_bytes())
    layout = h5py.VirtualLayout((2, 2), np.uint8)
    layout[:] = h5py.VirtualSource("../../outside/b.h5", "x", (2, 2))
    with h5py.File(path, "w") as file:
        group = file.create_group("clickmaps/x")
        group["clickmap"], group["participants"] = h5py.SoftLink("/clickmaps"), h5py.Empty("f4")
        file["loop"] = h5py.SoftLink("/loop")
        file.create_virtual_dataset("0", layout)
        file.create_dataset("1", (4,), np.uint8, external=[("../../outside/c", 0, 4)])
        file.create_dataset("2", (3,), h5py.vlen_dtype(np.int32))
        file["3"] = np.zeros(2, [("a", "i4"), ("b", "S3")])
    return [*seeds, path.read_bytes()]


def _run_hdf5(data: bytes, folder: Path) -> bool:
    path = folder / "maps.h5"
    path.write_bytes(data)
    return any_reads(
        path, read_labels, partial(read_pandas_table, key="df_with_missing"), _read_store,
        _read_library, read_mat,
    )  # fmt: skip


def _read_store(path: Path) -> None:
    """Every map of a folder; an image that is refused does not keep others from being read."""
    store = MapStore(path.parent)
    for name in list(store.names())[:5]:
        for kind in KINDS:
            with suppress(ClickmapError):
                maps = store.read(name, kind)
                assert maps.dtype == np.float32


def _read_library(path: Path) -> None:
    with suppress(ClickmapError):
        pysaliency(path, path)
    for stimulus in pysaliency(path).stimuli[:5]:
        with suppress(ClickmapError):
            stimulus.image()


# --- pictures ---------------------------------------------------------------------------------

_FORMATS = (
    "PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "ICO", "TGA", "PCX", "JPEG2000", "EPS",
    "SGI", "IM", "DDS", "ICNS", "MPO", "PDF", "XBM", "MSP", "SPIDER", "AVIF", "DIB", "QOI", "BLP",
)  # fmt: skip


def _picture_seeds(_folder: Path) -> list[bytes]:
    from PIL import Image

    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    seeds = []
    for form in _FORMATS:
        for mode in ("RGB", "L", "P", "RGBA", "I;16", "F", "1", "CMYK"):
            with suppress(OSError, ValueError, KeyError, ImportError):
                out = io.BytesIO()
                picture = colour.convert("L").convert(mode) if ";" in mode else colour.convert(mode)
                picture.save(out, form, exif=exif) if form == "JPEG" else picture.save(out, form)
                seeds.append(out.getvalue())
    out = io.BytesIO()
    frames = [colour.convert("P"), colour.rotate(90).convert("P")]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    return [*seeds, out.getvalue()]


def _run_picture(data: bytes, folder: Path) -> bool:
    path = folder / "a.png"
    path.write_bytes(data)

    def read(at: Path) -> None:
        for mode in ("RGB", "L"):
            pixels, _ = read_image_with_changes(at, mode)
            assert pixels.dtype == np.uint8
            assert pixels.ndim == (3 if mode == "RGB" else 2)

    return any_reads(path, read, image_size, read_mask)


def _mutate_picture(data: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
    return (in_png if data[:4] == b"\x89PNG" else plain)(data, rng, bytewise)


def _mutate_checkpoint(data: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
    inner: Sequence[Any] = (opcodes, opcodes, plain)
    if data[:2] == b"PK":
        return inside_zip(*inner)(data, rng, bytewise)
    return mutated(data, rng.choice(inner), rng, bytewise)


TARGETS = (
    Target("pickle", _pickle_seeds, _run_pickle, opcodes, packages=("pickle",)),
    Target("npy", _npy_seeds, _run_npy, in_npy, (b"|O", b"'<f8'", b"(3,)", b"'<U4'"), ("pickle",)),
    Target("checkpoint", _checkpoint_seeds, _run_checkpoint, _mutate_checkpoint),
    Target("mat", _mat_seeds, _run_mat, in_mat),
    Target(
        "hdf5", _hdf5_seeds, _run_hdf5,
        words=(b"\x89HDF\r\n\x1a\n", b"TREE", b"SNOD", b"HEAP", b"GCOL", b"OHDR", b"\xff" * 8),
    ),
    Target("image", _picture_seeds, _run_picture, _mutate_picture, packages=("PIL",)),
)  # fmt: skip
