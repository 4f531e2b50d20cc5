"""Small files that would fill the memory or take forever, each read in a process with a limit.

`python -m tests.faults.bombs FOLDER` reads them all and writes what became of each to
`FOLDER/outcomes.json`; `test_bombs` says what must.

ARROW_DEFAULT_MEMORY_POOL must be `system`: the other pools of Arrow reserve gigabytes at once.
"""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet

from clickmap_cli.clickmaps.reading.side_tables import read_categories, read_sizes
from clickmap_cli.config.loading import load_any
from clickmap_cli.datasets.formats.fixations_csv import fixations_csv
from clickmap_cli.datasets.formats.pysaliency import pysaliency
from clickmap_cli.datasets.keypoint_tables import read_labels
from clickmap_cli.runtime.errors import ClickmapError
from clickmap_cli.storage.map_store import MapStore
from clickmap_cli.storage.safe_arrays import load_tensors
from clickmap_cli.storage.safe_images import read_image
from clickmap_cli.storage.safe_mat import read_mat
from tests.faults.fuzz.guard import limit_memory, peaks
from tests.helpers.tables import read

MIB = 1 << 20
LIMIT = 1024 * MIB
PICTURE_LIMIT = 1536 * MIB
"""For the largest picture that Pillow's limit admits: its pixels alone are 341 MiB."""

_SECONDS = 60
_BLANKS = (b" " * 4095 + b"\n") * 256
_HEADER = b"image_path,user_id,clicks\n"
_PIXELS = (8990, 9940)


# --- packed content without making it whole ---------------------------------------------------


def deflated(front: bytes, repeated: bytes, times: int, end: bytes = b"") -> bytes:
    """What deflate makes of `front`, `repeated` so many times, and `end`."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = stream.compress(front) + stream.flush(zlib.Z_FULL_FLUSH)
    block = stream.compress(repeated) + stream.flush(zlib.Z_FULL_FLUSH)
    return first + block * times + stream.compress(end) + stream.flush()


def gzipped(front: bytes, repeated: bytes, times: int) -> bytes:
    """The same as a gzip file; its checksum stands behind what nobody reads that far."""
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + deflated(front, repeated, times) + bytes(8)


def zlib_of(repeated: bytes, times: int) -> bytes:
    """The same in zlib's form, with its checksum."""
    total = 1
    for _ in range(times):
        total = zlib.adler32(repeated, total)
    return b"\x78\xda" + deflated(b"", repeated, times) + struct.pack(">I", total)


def npz_of(members: dict[str, tuple[bytes, bytes, int, bytes]]) -> bytes:
    """An archive of such members, with the sizes and checksums they truly have."""
    out = io.BytesIO()
    directory = b""
    for name, (front, repeated, times, end) in members.items():
        crc = zlib.crc32(front)
        for _ in range(times):
            crc = zlib.crc32(repeated, crc)
        crc = zlib.crc32(end, crc)
        packed = deflated(front, repeated, times, end)
        size = len(front) + len(repeated) * times + len(end)
        about = struct.pack("<HHHIIIHH", 8, 0, 33, crc, len(packed), size, len(name), 0)
        place = out.tell()
        out.write(b"PK\x03\x04\x14\0" + struct.pack("<H", 0) + about + name.encode() + packed)
        directory += (
            b"PK\x01\x02\x14\0\x14\0" + struct.pack("<H", 0) + about + bytes(10)
            + struct.pack("<I", place) + name.encode()
        )  # fmt: skip
    place = out.tell()
    out.write(directory)
    count = len(members)
    out.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), place, 0))
    return out.getvalue()


def npy_head(descr: str, count: int) -> bytes:
    """The head of an array file."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': ({count},), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def png_of(width: int, height: int, bits: int, rows: bytes, times: int, *more: bytes) -> bytes:
    """A grey PNG whose rows are repeated, with more chunks behind its head."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        whole = kind + body
        return struct.pack(">I", len(body)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib_of(rows, times))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + pixels + chunk(b"IEND", b"")


# --- bombs ------------------------------------------------------------------------------------


def _written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def csv_gz_one_line(folder: Path) -> Any:
    return read(_written(folder, "t.csv.gz", gzipped(_HEADER, b"x" * MIB, 1024)))


def csv_gz_blank_lines(folder: Path) -> Any:
    return read(_written(folder, "t.csv.gz", gzipped(_HEADER, _BLANKS, 2048)))


def csv_zst_blank_lines(folder: Path) -> Any:
    path = folder / "t.csv.zst"
    with pyarrow.output_stream(path, compression="zstd") as out:
        out.write(_HEADER)
        for _ in range(512):
            out.write(_BLANKS)
    return read(path)


def csv_line_of_a_gigabyte(folder: Path) -> Any:
    path = _written(folder, "t.csv", _HEADER)
    os.truncate(path, 1 << 30)
    return read(path)


def deeplabcut_gz(folder: Path) -> Any:
    return read_labels(_written(folder, "t.csv.gz", gzipped(b"scorer,me\n", b",\n" * MIB, 256)))


def fixations_gz(folder: Path) -> Any:
    (folder / "images").mkdir()
    head = b"image,order,x,y\n"
    path = _written(folder, "t.csv.gz", gzipped(head, b"a.png,1,2,3\n" * (MIB // 8), 512))
    return fixations_csv(path, folder / "images")


def npz_of_zeros(folder: Path) -> Any:
    return _read_npz(folder, (npy_head("<f8", 3 << 26), bytes(MIB), 1536, b""))


def npz_of_operations(folder: Path) -> Any:
    front = npy_head("|O", 1) + b"\x80\x04"
    return _read_npz(folder, (front, b")0" * (MIB // 2), 512, b"N."))


def _read_npz(folder: Path, member: tuple[bytes, bytes, int, bytes]) -> Any:
    members = {f"{name}.npy": (b"", b"", 0, b"") for name in ("user_id", "clicks")}
    return read(_written(folder, "t.npz", npz_of({"image_path.npy": member} | members)))


def npz_of_one_text(folder: Path) -> Any:
    """A column of 8192 rows that all name one text of a megabyte."""
    rows = np.empty(8192, dtype=object)
    rows[:] = "[" + "(1, 2), " * (MIB // 8) + "(3, 4)]"
    np.savez(folder / "t.npz", image_path=["a.png"] * 8192, user_id=["u"] * 8192, clicks=rows)
    return read(folder / "t.npz")


def parquet_of_nulls(folder: Path) -> Any:
    nothing = pyarrow.nulls(20_000_000)
    names = ("image_path", "user_id", "clicks")
    pyarrow.parquet.write_table(pyarrow.table(dict.fromkeys(names, nothing)), folder / "t.parquet")
    return read(folder / "t.parquet")


def png_largest(folder: Path) -> Any:
    height, width = _PIXELS
    row = b"\0" + b"\x12\x34" * width
    return read_image(_written(folder, "a.png", png_of(width, height, 16, row * 10, height // 10)))


def png_text(folder: Path) -> Any:
    body = b"Comment\0\0" + zlib_of(b"x" * MIB, 1024)
    text = struct.pack(">I", len(body)) + b"zTXt" + body
    text += struct.pack(">I", zlib.crc32(b"zTXt" + body))
    return read_image(_written(folder, "a.png", png_of(4, 4, 8, b"\0" * 5, 4, text)))


def _stimuli(folder: Path, fill: Callable[[h5py.File], None]) -> Any:
    with h5py.File(folder / "s.h5", "w") as file:
        file.attrs.update({"type": "Stimuli", "version": "1.1", "size": 1, "__attributes__": "[]"})
        fill(file)
    with suppress(ClickmapError):
        pysaliency(folder / "s.h5")
    return read_mat(folder / "s.h5")


def hdf5_chunk(folder: Path) -> Any:
    """One value, in a chunk of two gigabytes."""
    side = 1 << 29

    def fill(file: h5py.File) -> None:
        data = file.create_dataset("0", (1,), "f4", maxshape=(None,), chunks=(side,), shuffle=False,
                                   compression="gzip")  # fmt: skip
        data.id.write_direct_chunk((0,), zlib_of(bytes(MIB), 2048))

    return _stimuli(folder, fill)


def hdf5_texts(folder: Path) -> Any:
    """A list whose texts are all the same long one."""
    with h5py.File(folder / "s.h5", "w") as file:
        names = file.create_dataset("filenames", (100_000,), h5py.string_dtype(), chunks=(100_000,),
                                    compression="gzip")  # fmt: skip
        names[0] = "x" * 60_000
        file.flush()
        chunk = zlib.decompress(names.id.read_direct_chunk((0,))[1])
        same = chunk[:16] * 100_000
        names.id.write_direct_chunk((0,), zlib.compress(same))
        file.attrs.update({
            "type": np.bytes_("FileStimuli"), "version": np.bytes_("2.1"), "size": 100_000,
            "__attributes__": np.bytes_("[]"),
        })  # fmt: skip
    return pysaliency(folder / "s.h5")


def maps_never_written(folder: Path) -> Any:
    with h5py.File(folder / "maps.h5", "w") as file:
        file.create_dataset("clickmaps/a/clickmap", (1, 60_000, 60_000), "f4", chunks=(1, 100, 100))
    return MapStore(folder).read("a")


def maps_npz_of_zeros(folder: Path) -> Any:
    head = npy_head("<f4", 0).replace(b"(0,)", b"(1,30000,20000)")
    head = head[:8] + struct.pack("<H", len(head) - 10) + head[10:]
    _written(folder, "maps.npz", npz_of({"a.npy": (head, bytes(MIB), 2290, b"")}))
    return MapStore(folder).read("a")


def mat_of_zeros(folder: Path) -> Any:
    packed = zlib_of(bytes(MIB), 1024)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    return read_mat(_written(folder, "a.mat", head + struct.pack("<II", 15, len(packed)) + packed))


def _laughs(levels: int) -> Iterator[str]:
    yield "- &a0 [x, x, x, x, x, x, x, x, x]"
    for at in range(1, levels):
        yield f"- &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]"


def config_aliases(folder: Path) -> Any:
    return load_any(_written(folder, "a.yaml", "\n".join(_laughs(12))))


def config_references(folder: Path) -> Any:
    lines = ["a0: xxxxxxxxxx", *(f"a{at}: " + f"${{a{at - 1}}}" * 10 for at in range(1, 12))]
    return load_any(_written(folder, "a.yaml", "\n".join(lines)))


def config_brackets(folder: Path) -> Any:
    return load_any(_written(folder, "a.yaml", "a: " + "[" * 200_000))


def categories_of_aliases(folder: Path) -> Any:
    return read_categories(_written(folder, "a.yaml", "\n".join(_laughs(12))))


def sizes_of_aliases(folder: Path) -> Any:
    lines = [line.replace("- ", f"k{at}: ", 1) for at, line in enumerate(_laughs(12))]
    return read_sizes(_written(folder, "a.yaml", "\n".join(lines)))


def checkpoint_packed(folder: Path) -> Any:
    import torch

    out = io.BytesIO()
    torch.save({"a": torch.zeros(4)}, out)
    with zipfile.ZipFile(out) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    packed = {name: (content, b"", 0, b"") for name, content in members.items()}
    packed["archive/data/1"] = (b"", bytes(MIB), 2048, b"")
    return load_tensors(_written(folder, "a.pth", npz_of(packed)))


def checkpoint_of_a_huge_network(folder: Path) -> Any:
    """The widest network there may be, of weights that are one number each."""
    import torch

    from clickmap_cli.metrics.classification import Platt
    from clickmap_cli.models.click_gru import ClickGRU, FeatureSettings
    from clickmap_cli.models.participant_quality import QualityModel, load_quality, save_quality

    features = FeatureSettings()
    network = ClickGRU(len(features.names), 2, 1)
    save_quality(folder / "q.pt", QualityModel(network, features, 2, 1, Platt(1.0, 0.0)))
    state = torch.load(folder / "q.pt", weights_only=True)
    state["network"] = {"hidden": 1024, "layers": 8}
    with torch.device("meta"):
        wanted = ClickGRU(len(features.names), 1024, 8).state_dict()
    state["state_dict"] = {
        name: torch.zeros(1).expand(tensor.shape) for name, tensor in wanted.items()
    }
    torch.save(state, folder / "q.pt")
    return load_quality(folder / "q.pt")


def mask_of_one_number(folder: Path) -> Any:
    import torch

    from clickmap_cli.clickmaps.image_files import read_mask

    torch.save(torch.zeros(1).expand(60_000, 60_000), folder / "a.pth")
    return read_mask(folder / "a.pth")


BOMBS: dict[str, Callable[[Path], Any]] = {
    bomb.__name__: bomb
    for bomb in (
        csv_gz_one_line, csv_gz_blank_lines, csv_zst_blank_lines,
        csv_line_of_a_gigabyte, deeplabcut_gz, fixations_gz, npz_of_zeros, npz_of_operations,
        npz_of_one_text,
        parquet_of_nulls, png_largest, png_text, hdf5_chunk, hdf5_texts,
        maps_never_written, maps_npz_of_zeros, mat_of_zeros, config_aliases, config_references,
        config_brackets, categories_of_aliases, sizes_of_aliases, checkpoint_packed,
        checkpoint_of_a_huge_network, mask_of_one_number,
    )
}  # fmt: skip


def explode(name: str, folder: Path) -> None:
    """Read one in this process, which is limited, and write what came of it."""
    folder.mkdir()
    os.chdir(folder)
    limit_memory(PICTURE_LIMIT if name == "png_largest" else LIMIT)
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    before = peaks()[0]
    try:
        BOMBS[name](folder)
        outcome = "read"
    except ClickmapError as error:
        outcome = str(error)
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                outcome = f"asked for too much memory: {error}"
            cause = cause.__cause__ or cause.__context__
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"
    filled = (peaks()[0] - before) >> 20
    (folder.parent / f"{name}.json").write_text(json.dumps([outcome, filled]))


def main() -> None:
    """Read every bomb, each in its own process."""
    root = Path(sys.argv[1]).resolve()
    outcomes = {}
    for name in BOMBS:
        if name.startswith(("checkpoint", "mask")):
            import torch  # noqa: F401 - what it takes is not the file's doing
        child = os.fork()
        if not child:
            explode(name, root / name)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        said = root / f"{name}.json"
        outcomes[name] = json.loads(said.read_text()) if said.exists() else [f"died ({status})", 0]
    (root / "outcomes.json").write_text(json.dumps(outcomes, indent=1))


if __name__ == "__main__":
    main()
