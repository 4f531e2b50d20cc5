"""`.npy` and `.npz` files: honest ones as NumPy reads them, forged and damaged ones refused."""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.safe_arrays import (
    NpzArrays,
    is_bomb,
    load_tensors,
    read_npy,
    read_tensors,
)
from clickmap_cli.storage.safe_images import read_image
from tests.helpers.payloads import Call, same
from tests.helpers.tables import object_array

HONEST = {
    "f8": np.linspace(0, 1, 6).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
    "zero_d": np.array(5),
    "empty": np.empty((0, 3), np.float32),
    "bool": np.array([True, False]),
    "text": np.array(["é", "", "abc"]),
    "bytes": np.array([b"a", b"bcd"]),
    "days": np.array(["2024-05-17", "NaT"], "M8[D]"),
    "spans": np.array([1, 2], "m8[15m]"),
    "complex": np.array([1 + 2j]),
    "half": np.array([0.5], np.float16),
    "lists": object_array([[1, 2], [], [(3, 4.5)]]),
    "arrays": object_array([np.arange(3), np.zeros((2, 2)), np.array("x")]),
    "texts": object_array(["a", "é" * 300, None]),
    "dicts": object_array([{"a": 1, 2: [3]}, {(1, 2): np.float32(1)}]),
    "nested": object_array([object_array([1, [2]]), True]),
    "object_2d": np.array([[1, "a"], [None, 2.5]], dtype=object),
    "object_f": np.asfortranarray(np.array([[1, "a", 3], [None, 2.5, "z"]], dtype=object)),
    "fields": np.zeros(2, [("a", "i4"), ("b", "f8", (2,))]),
}


@pytest.mark.parametrize("name", HONEST)
def test_npy_as_numpy_reads_it(tmp_path, name):
    np.save(tmp_path / "a.npy", HONEST[name])
    got = read_npy(tmp_path / "a.npy")
    assert same(got, np.load(tmp_path / "a.npy", allow_pickle=True))
    assert got.flags.writeable


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_as_numpy_reads_it(tmp_path, save):
    save(tmp_path / "a.npz", **HONEST)
    got = NpzArrays(tmp_path / "a.npz")
    assert list(got) == list(HONEST)
    assert len(got) == len(HONEST)
    with np.load(tmp_path / "a.npz", allow_pickle=True) as numpys:
        for name in HONEST:
            assert same(got[name], numpys[name])
    with pytest.raises(KeyError):
        got["absent"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", [n for n, a in HONEST.items() if a.dtype == object])
def test_object_arrays_of_every_protocol(tmp_path, name, protocol):
    (tmp_path / "a.npy").write_bytes(npy(HONEST[name], protocol=protocol))
    assert same(read_npy(tmp_path / "a.npy"), HONEST[name])


def test_a_dictionary_in_an_npy_comes_back_as_itself(tmp_path):
    sizes = {"cats/a.jpg": (640, 480), "b.jpg": [np.int64(3), 4]}
    np.save(tmp_path / "a.npy", sizes)
    assert same(read_npy(tmp_path / "a.npy"), sizes)


def test_headers_of_python_2_are_read(tmp_path):
    content = header("{'descr': '<i2', 'fortran_order': False, 'shape': (2L,), }") + bytes(4)
    (tmp_path / "a.npy").write_bytes(content)
    assert same(read_npy(tmp_path / "a.npy"), np.zeros(2, "<i2"))


# --- forged ones ------------------------------------------------------------------------------


def npy(array, protocol=4) -> bytes:
    out = io.BytesIO()
    if array.dtype.hasobject:
        np.lib.format.write_array_header_1_0(out, np.lib.format.header_data_from_array_1_0(array))
        out.write(pickle.dumps(array, protocol=protocol))
    else:
        np.lib.format.write_array(out, array, allow_pickle=False)
    return out.getvalue()


def header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text) + 1)
    return b"\x93NUMPY" + bytes(version) + length + text.encode() + b"\n"


def plain_header(shape: str = "(2,)", descr: str = "'<f8'") -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")


BAD_NPY = {
    "nothing": b"",
    "text": b"x,y\n1,2\n",
    "magic_only": b"\x93NUMPY",
    "version_9": b"\x93NUMPY\x09\x00" + bytes(99),
    "no_header": b"\x93NUMPY\x01\x00\xff\x00{",
    "huge_header": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "wide_header": header(" " * 20_000, (2, 0)),
    "open_bracket": header("{'descr': '<f8', 'shape': ("),
    "unclosed_string": header("{'descr': '<f8"),
    "a_call": header("__import__('os').system('true')"),
    "deep_header": header("(" * 5000 + ")" * 5000),
    "list_keys": header("{[]: 1}"),
    "mixed_keys": header("{1: 1, 'a': 2}"),
    "no_descr": header("{'fortran_order': False, 'shape': (2,)}"),
    "bad_escape": header("'\\d'"),
    "shape_too_large": plain_header("(9,)") + bytes(16),
    "shape_of_terabytes": plain_header("(1000000000000,)") + bytes(16),
    "shape_overflows": plain_header("(4611686018427387904, 4)") + bytes(16),
    "shape_times_zero": plain_header("(0, 100000000000000000000)"),
    "negative_shape": plain_header("(-1, -2)") + bytes(16),
    "negative_side": plain_header("(-2,)") + bytes(16),
    "many_axes": plain_header(str((1,) * 70)) + bytes(16),
    "float_shape": plain_header("(2.0,)") + bytes(16),
    "text_shape": plain_header("'ab'") + bytes(16),
    "cut": plain_header("(2,)") + bytes(15),
    "no_size": plain_header("(1000000000000,)", "'S0'"),
    "no_size_void": plain_header("(7,)", "'V0'"),
    "no_fields": plain_header("(7,)", "[]"),
    "subarray": plain_header("(2,)", "('<f8', (3,))") + bytes(48),
    "empty_tuple": plain_header("(2,)", "()") + bytes(48),
    "odd_type": plain_header("(2,)", "'q7z'") + bytes(48),
    "odd_names": plain_header("(2,)", "[(1, '<f8')]") + bytes(48),
    "type_none": plain_header("(2,)", "{'names': 1}") + bytes(48),
    "no_text": plain_header("(1,)", "'<U1'") + b"\xff\xff\xff\xff",
    "no_text_big": plain_header("(1,)", "'>U1'") + b"\xff\xff\xff\xff",
    "object_fields": plain_header("(1,)", "[('a', '|O')]") + bytes(16),
    "object_without_pickle": plain_header("(1,)", "'|O'") + bytes(16),
    "object_other_shape": plain_header("(5,)", "'|O'") + pickle.dumps(object_array([1, 2])),
    "object_no_array": plain_header("(2,)", "'|O'") + pickle.dumps([1, 2]),
    "object_negative": plain_header("(-1, -2)", "'|O'") + pickle.dumps(object_array([1, 2])),
    "object_cut": npy(object_array([1, [2]]))[:-5],
}  # fmt: skip


def sentence(caught, name) -> str:
    text = str(caught.value)
    assert name in text
    assert "\n" not in text
    assert len(text) < 900
    return text


@pytest.mark.parametrize("name", BAD_NPY)
def test_bad_npy(tmp_path, name):
    (tmp_path / "a.npy").write_bytes(BAD_NPY[name])
    with pytest.raises(DataError) as caught:
        read_npy(tmp_path / "a.npy")
    sentence(caught, "a.npy")


@pytest.mark.parametrize("name", BAD_NPY)
def test_bad_member_leaves_the_others_readable(tmp_path, name):
    good = np.arange(3)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bad.npy", BAD_NPY[name])
        archive.writestr("good.npy", npy(good))
    arrays = NpzArrays(tmp_path / "a.npz")
    with pytest.raises(DataError) as caught:
        arrays["bad"]
    sentence(caught, "'bad'")
    assert same(arrays["good"], good)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_payloads_in_object_arrays_do_not_run(tmp_path, protocol):
    canary = tmp_path / "ran"
    array = object_array([Call(os.mkdir, [str(canary)])])
    (tmp_path / "a.npy").write_bytes(npy(array, protocol))
    with pytest.raises(DataError) as caught:
        read_npy(tmp_path / "a.npy")
    assert "refused" in sentence(caught, "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("clicks.npy", npy(array, protocol))
    with pytest.raises(DataError, match="'clicks'"):
        NpzArrays(tmp_path / "a.npz")["clicks"]
    assert not canary.exists()


def test_an_announced_terabyte_costs_no_memory_and_no_time(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", plain_header("(1000000000000,)", "'|u1'") + bytes(1000))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = b"\xfe\xff\xff\xff"  # the directory says 4 GiB are there
    (tmp_path / "a.npz").write_bytes(data)
    started = time.process_time()
    with pytest.raises(DataError):
        NpzArrays(tmp_path / "a.npz")["a"]
    assert time.process_time() - started < 5


# --- archives ---------------------------------------------------------------------------------


def archive_of(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return out.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY", b"x" * 99]
)
def test_what_is_not_an_archive(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError) as caught:
        NpzArrays(tmp_path / "a.npz")
    sentence(caught, "a.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_name_that_stands_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", npy(np.arange(3)))
        archive.writestr("a.npy", npy(np.arange(4)))
    with pytest.raises(DataError, match="'a' is there twice"):
        NpzArrays(tmp_path / "a.npz")


def test_names_that_climb_are_names_and_nothing_is_unpacked(tmp_path):
    folder = tmp_path / "in" / "side"
    folder.mkdir(parents=True)
    (folder / "a.npz").write_bytes(
        archive_of(**{"../../out": npy(np.arange(3)), "/abs": npy(np.arange(2))})
    )
    got = NpzArrays(folder / "a.npz")
    assert same(got["../../out"], np.arange(3))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.npz", "in", "side"]


def test_an_encrypted_member_is_reported(tmp_path):
    data = bytearray(archive_of(a=npy(np.arange(3))))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(signature) + at] |= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(DataError, match="'a' is damaged"):
        NpzArrays(tmp_path / "a.npz")["a"]


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=5),
    st.integers(0, 5000),
)
def test_flipped_and_cut_archives_give_the_arrays_or_a_sentence(tmp_path, edits, cut):
    arrays = {"n": np.arange(40), "o": object_array([[1, "x"], np.arange(3)]), "t": np.array(["é"])}
    data = bytearray(archive_of(**{name: npy(array) for name, array in arrays.items()}))
    for at, new in edits:
        data[at % len(data)] = new
    (tmp_path / "a.npz").write_bytes(data[: cut % len(data)] if cut % 3 == 0 else data)
    try:
        opened = NpzArrays(tmp_path / "a.npz")
    except DataError as error:
        opened = {}
        assert_sentence(error)
    for name in opened:
        try:
            got = opened[name]
        except DataError as error:
            assert_sentence(error)
        else:  # the archive's checksum holds for what is read
            assert any(same(got, array) for array in arrays.values())


def assert_sentence(error: DataError) -> None:
    assert "\n" not in str(error)
    assert "a.npz" in str(error)


def test_missing_files_and_folders(tmp_path):
    for reader in (read_npy, NpzArrays, read_tensors):
        with pytest.raises(DataError, match="No file at"):
            reader(tmp_path / "absent")
        with pytest.raises(DataError, match="cannot be read"):
            reader(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(50), b"not an image"]
)
def test_what_is_not_an_image(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / "a.png")
    sentence(caught, "a.png")


def test_a_cut_image_and_one_that_claims_gigapixels(tmp_path):
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        tmp_path / "a.png"
    )
    whole = (tmp_path / "a.png").read_bytes()
    assert read_image(tmp_path / "a.png").shape == (64, 64, 3)
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    forged = whole[:16] + struct.pack(">II", 60_000, 60_000) + whole[24:]
    (tmp_path / "c.png").write_bytes(forged)
    for name in ("b.png", "c.png"):
        with pytest.raises(DataError) as caught:
            read_image(tmp_path / name)
        sentence(caught, name)


# --- torch's files, and what is packed too well -----------------------------------------------


def saved(path, value):
    import torch

    torch.save(value, path)
    return path


def test_tensors_that_are_not_plain_arrays_are_reported(tmp_path):
    import torch

    values = {
        "BFloat16": torch.zeros(2, dtype=torch.bfloat16),
        "Sparse": torch.eye(3).to_sparse(),
        "states 40000 bytes and holds 4": torch.zeros(1).expand(100, 100),
    }
    for what, value in values.items():
        with pytest.raises(DataError, match=what) as caught:
            read_tensors(saved(tmp_path / "a.pth", {"a": [value]}))
        sentence(caught, "a.pth")
    plain = torch.arange(6).reshape(2, 3)
    found = read_tensors(saved(tmp_path / "a.pth", [plain, plain.t(), plain[1:, ::2]]))
    assert same(found[1], np.arange(6).reshape(2, 3).T)
    assert same(found[2], np.array([[3, 5]]))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda file: np.savez(file, w=np.ones(3)), r"an \.npz archive of NumPy arrays \('w'\)"),
        (lambda file: np.savez_compressed(file, w=np.ones(3)), r"an \.npz archive of .*"),
        (lambda file: np.save(file, np.ones(3)), r"a NumPy array \(\.npy\)"),
        (lambda file: file.write(b"\x89HDF\r\n\x1a\n" + bytes(99)), "an HDF5 file"),
    ],
)
def test_other_files_of_numbers_are_named_for_what_they_are(tmp_path, write, said):
    with (tmp_path / "a.pt").open("wb") as file:
        write(file)
    with pytest.raises(DataError, match=f"{said}, not a checkpoint of PyTorch") as caught:
        load_tensors(tmp_path / "a.pt")
    sentence(caught, "a.pt")


def test_packed_checkpoints_are_refused(tmp_path):
    import torch

    with zipfile.ZipFile(saved(tmp_path / "a.pth", {"a": torch.zeros(3)})) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    for method, name in ((zipfile.ZIP_STORED, "b.pth"), (zipfile.ZIP_DEFLATED, "c.pth")):
        with zipfile.ZipFile(tmp_path / name, "w", method) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    assert same(read_tensors(tmp_path / "b.pth"), {"a": np.zeros(3, np.float32)})
    with pytest.raises(DataError, match="parts of it are packed"):
        read_tensors(tmp_path / "c.pth")


@pytest.mark.parametrize(
    ("content", "stored", "bomb"),
    [
        (64 << 20, 1, False), ((64 << 20) + 1, 1, True), (900 << 20, 1 << 20, False),
        (1 << 30, 1 << 20, False), ((1 << 30) + 1, 1 << 20, True), (4 << 30, 11 << 20, False),
        (4 << 30, 10 << 20, True), (1 << 40, 1 << 40, False),
    ],
)  # fmt: skip
def test_what_is_too_much_content(content, stored, bomb):
    assert is_bomb(content, stored) is bomb


def test_pickles_that_are_packed_too_well_are_not_run(tmp_path):
    out = io.BytesIO()
    array = object_array([1])
    np.lib.format.write_array_header_1_0(out, np.lib.format.header_data_from_array_1_0(array))
    out.write(b"\x80\x04" + b")0" * (4 << 20) + b"N.")
    (tmp_path / "a.npz").write_bytes(archive_of(a=out.getvalue()))
    with pytest.raises(DataError, match="made to take forever"):
        NpzArrays(tmp_path / "a.npz")["a"]


def test_asking_for_a_name_reads_nothing(tmp_path):
    (tmp_path / "a.npz").write_bytes(archive_of(bad=b"junk"))
    arrays = NpzArrays(tmp_path / "a.npz")
    assert "bad" in arrays
    assert "good" not in arrays
