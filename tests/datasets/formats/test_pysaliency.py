"""Files of the library pysaliency: read as it reads them, written so that it reads the same."""

from __future__ import annotations

import json
import warnings

import h5py
import numpy as np
import pytest
from PIL import Image

from clickmap_cli.datasets.base import DataSet, Points
from clickmap_cli.datasets.files import FileStimulus
from clickmap_cli.datasets.formats.fixations_csv import fixations_csv
from clickmap_cli.datasets.formats.pysaliency import pysaliency, write_pysaliency
from clickmap_cli.runtime.errors import DataError
from tests.datasets.scenes import by_id, gaussian_sum, picture, reasons, shared

SIZES = [(12, 16), (10, 20), (12, 16)]


@pytest.fixture
def library(monkeypatch):
    """The library; it uses names that newer NumPys have dropped."""
    for name, value in (("trapz", np.trapezoid), ("string_", np.bytes_), ("in1d", np.isin)):
        if not hasattr(np, name):
            monkeypatch.setattr(np, name, value, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("pysaliency")


def trains(rng, people=3, longest=6):
    """x, y, image and person of some scanpaths."""
    xs, ys, ns, subjects = [], [], [], []
    for image, (height, width) in enumerate(SIZES):
        for person in range(people):
            length = int(rng.integers(1, longest))
            xs.append(rng.uniform(0, width, length))
            ys.append(rng.uniform(0, height, length))
            ns.append(image)
            subjects.append(person)
    return xs, ys, ns, subjects


def pictures(root) -> list:
    paths = [root / "images" / name for name in ("a/1.png", "a/2.png", "b/1.png")]
    for seed, (path, size) in enumerate(zip(paths, SIZES, strict=True)):
        picture(path, size, seed)
    return paths


def flat(xs, ys, ns, subjects) -> dict[str, np.ndarray]:
    lengths = [len(x) for x in xs]
    return {
        "x": np.concatenate(xs), "y": np.concatenate(ys), "n": np.repeat(ns, lengths),
        "subjects": np.repeat(subjects, lengths),
    }  # fmt: skip


def plain_fixations(path, **arrays) -> None:
    """A file of `Fixations` 1.0 by its layout."""
    count = len(arrays["x"])
    with h5py.File(path, "w") as file:
        file.attrs["type"], file.attrs["version"] = np.bytes_("Fixations"), np.bytes_("1.0")
        file.attrs["__attributes__"] = np.bytes_(json.dumps(["subjects"]))
        for name in ("t", "x_hist", "y_hist", "t_hist"):
            arrays.setdefault(name, np.zeros((count, 1) if "_" in name else count))
        for name, values in arrays.items():
            file.create_dataset(name, data=values)


def plain_files(path, names, version="2.1") -> None:
    """A file of `FileStimuli` by its layout."""
    with h5py.File(path, "w") as file:
        file.attrs["type"], file.attrs["version"] = np.bytes_("FileStimuli"), np.bytes_(version)
        file.attrs["__attributes__"], file.attrs["size"] = np.bytes_("[]"), len(names)
        file.create_dataset(
            "filenames", data=np.array(names, dtype=object), dtype=h5py.string_dtype()
        )


def check_points(data, arrays) -> None:
    for image, stimulus in enumerate(data.stimuli):
        mine = arrays["n"] == image
        np.testing.assert_array_equal(stimulus.points.x, arrays["x"][mine])
        np.testing.assert_array_equal(stimulus.points.y, arrays["y"][mine])
        names = [stimulus.points.subjects[code] for code in stimulus.points.subject]
        assert names == [str(code) for code in arrays["subjects"][mine]]


# --- what the library wrote -------------------------------------------------------------------


def test_its_files_of_images_and_trains(tmp_path, library) -> None:
    paths = pictures(tmp_path)
    stimuli = library.FileStimuli(
        [str(path) for path in paths], shapes=[(*size, 3) for size in SIZES]
    )
    parts = trains(np.random.default_rng(0))
    xs, ys, ns, subjects = parts
    fixations = library.FixationTrains.from_fixation_trains(
        xs, ys, [np.arange(len(x)) for x in xs], ns, subjects
    )
    stimuli.to_hdf5(str(tmp_path / "s.hdf5"))
    fixations.to_hdf5(str(tmp_path / "f.hdf5"))
    data = pysaliency(tmp_path / "s.hdf5", tmp_path / "f.hdf5", sigma_px=2)
    assert [stimulus.image_id for stimulus in data.stimuli] == ["a_1", "a_2", "b_1"]
    assert [stimulus.category for stimulus in data.stimuli] == ["a", "a", "b"]
    assert [stimulus.size for stimulus in data.stimuli] == SIZES
    check_points(data, flat(*parts))
    first = data.stimuli[0]
    expected = gaussian_sum(first.points.x, first.points.y, SIZES[0], 2)
    np.testing.assert_allclose(first.truth(), expected / expected.sum(), rtol=1e-12)
    assert list(first.people().names) == ["0", "1", "2"]
    fixations[:].to_hdf5(str(tmp_path / "g.hdf5"))
    check_points(pysaliency(tmp_path / "s.hdf5", tmp_path / "g.hdf5"), flat(*parts))


def test_its_arrays(tmp_path, library) -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]
    arrays[1] = arrays[1][:, :, 0]
    library.Stimuli(arrays).to_hdf5(str(tmp_path / "s.hdf5"))
    data = pysaliency(tmp_path / "s.hdf5")
    assert [s.image_id for s in data.stimuli] == [f"stimulus_000{at}" for at in (1, 2, 3)]
    np.testing.assert_array_equal(data.stimuli[0].image(), arrays[0] / np.float32(255))
    grey = data.stimuli[1].image()
    for channel in range(3):
        np.testing.assert_array_equal(grey[:, :, channel], arrays[1] / np.float32(255))
    assert len({stimulus.image_digest() for stimulus in data.stimuli}) == 3
    assert all(stimulus.points is None for stimulus in data.stimuli)


# --- what we write ----------------------------------------------------------------------------


def points(rng, size, names) -> Points:
    count = int(rng.integers(1, 9))
    return Points(
        rng.uniform(0, size[1], count), rng.uniform(0, size[0], count),
        rng.integers(0, len(names), count).astype(np.int32), names,
    )  # fmt: skip


def ours(root, names=("3", "11")) -> DataSet:
    rng = np.random.default_rng(2)
    return DataSet(
        [
            FileStimulus(
                path.parent.name + path.stem, size, path, path.parent.name, points(rng, size, names)
            )
            for path, size in zip(pictures(root), SIZES, strict=True)
        ]
    )


@pytest.mark.parametrize("names", [("3", "11"), ("ann", "bob")])
def test_the_library_reads_what_we_write(tmp_path, library, names) -> None:
    data = ours(tmp_path, names)
    target = tmp_path / "deep" / "er"
    written = write_pysaliency(data, target)
    assert [path.name for path in sorted(target.iterdir())] == ["fixations.hdf5", "stimuli.hdf5"]
    stimuli, fixations = (library.read_hdf5(str(path)) for path in written)
    assert isinstance(stimuli, library.FileStimuli)
    assert isinstance(fixations, library.Fixations)
    codes = {"3": 3, "11": 11, "ann": 0, "bob": 1}
    for at, stimulus in enumerate(data.stimuli):
        assert tuple(stimuli.sizes[at]) == stimulus.size
        np.testing.assert_array_equal(stimuli.stimuli[at] / np.float32(255), stimulus.image())
        mine = fixations[fixations.n == at]
        np.testing.assert_array_equal(mine.x, stimulus.points.x)
        np.testing.assert_array_equal(mine.y, stimulus.points.y)
        np.testing.assert_array_equal(
            mine.subjects, [codes[names[code]] for code in stimulus.points.subject]
        )
        assert np.all(mine.lengths == 0)
    assert list(stimuli.attributes["image_id"]) == ["a1", "a2", "b1"]


@pytest.mark.parametrize("names", [("3", "11"), ("ann", "bob"), ("007", "7")])
def test_we_read_back_what_we_wrote(tmp_path, names) -> None:
    data = ours(tmp_path, names)
    again = pysaliency(*write_pysaliency(data, tmp_path / "out"))
    assert not again.problems
    for before, after in zip(data.stimuli, again.stimuli, strict=True):
        assert (after.image_id, after.category) == (before.image_id, before.category)
        np.testing.assert_array_equal(after.points.x, before.points.x)
        people = [[p.subjects[c] for c in p.subject] for p in (before.points, after.points)]
        assert people[0] == people[1]
        assert after.image_digest() == before.image_digest()


def test_a_folder_that_is_a_link(tmp_path, library) -> None:
    data = ours(tmp_path)
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    written = write_pysaliency(data, tmp_path / "link")
    assert library.read_hdf5(str(written[0])).stimuli[0].shape == (12, 16, 3)
    assert len(pysaliency(*written).stimuli) == 3


def test_images_that_exif_turns_go_as_arrays(tmp_path, library) -> None:
    """The library shows pixels as they are stored; people saw them upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "a.png", (6, 10), exif=exif)
    stimulus = FileStimulus("a", (10, 6), tmp_path / "a.png")
    written = write_pysaliency(DataSet([stimulus]), tmp_path / "out")
    assert [path.name for path in written] == ["stimuli.hdf5"]
    stimuli = library.read_hdf5(str(written[0]))
    np.testing.assert_array_equal(stimuli.stimuli[0] / np.float32(255), stimulus.image())
    (again,) = pysaliency(written[0]).stimuli
    assert again.image_id == "a"
    np.testing.assert_array_equal(again.image(), stimulus.image())


def test_people_who_are_not_named(tmp_path, library) -> None:
    data = ours(tmp_path)
    bare = [Points(s.points.x, s.points.y) for s in data.stimuli]
    stimuli = [
        FileStimulus(s.image_id, s.size, s.image_path, points=p)
        for s, p in zip(data.stimuli, bare, strict=True)
    ]
    written = write_pysaliency(DataSet(stimuli), tmp_path / "out")
    assert set(library.read_hdf5(str(written[1])).subjects) == {1}
    assert pysaliency(*written).stimuli[0].people() is None
    with pytest.raises(DataError, match="some do not"):
        write_pysaliency(DataSet([data.stimuli[0], *stimuli[1:]]), tmp_path / "mixed")
    assert not (tmp_path / "mixed" / "fixations.hdf5").exists()
    with pytest.raises(DataError, match="no images"):
        write_pysaliency(DataSet([]), tmp_path / "none")


def test_osie_there_and_back(tmp_path, library) -> None:
    root = shared("osie")
    data = fixations_csv(root / "fixations_eye.csv", root)
    written = write_pysaliency(data, tmp_path)
    fixations = library.read_hdf5(str(written[1]))
    assert len(fixations.x) == sum(len(stimulus.points) for stimulus in data.stimuli)
    assert set(fixations.subjects) == set(range(15))
    for before, after in zip(data.stimuli, pysaliency(*written).stimuli, strict=True):
        assert after.truth_digest() == before.truth_digest()


# --- hostile and damaged files ----------------------------------------------------------------


def test_names_are_found_where_they_are(tmp_path) -> None:
    pictures(tmp_path)
    folder = tmp_path / "h5"
    folder.mkdir()
    names = ["../images/a/1.png", "../images/a/lost.png", "..\\images\\b\\1.png", "s.hdf5"]
    plain_files(folder / "s.hdf5", names)
    data = pysaliency(folder / "s.hdf5")
    assert list(by_id(data)) == ["a_1", "b_1"]
    told = reasons(data)
    assert "no such image" in told["a_lost"]
    assert "not a readable image" in told["h5_s"]
    plain_files(folder / "t.hdf5", ["/somewhere/a/2.png", "x/y/b/1.png"])
    assert list(by_id(pysaliency(folder / "t.hdf5", images=tmp_path / "images"))) == ["1", "2"]


def test_version_1_0_starts_from_here(tmp_path, monkeypatch) -> None:
    pictures(tmp_path)
    (tmp_path / "h5").mkdir()
    plain_files(tmp_path / "h5" / "s.hdf5", ["images/a/1.png"], "1.0")
    monkeypatch.chdir(tmp_path)
    assert list(by_id(pysaliency("h5/s.hdf5"))) == ["1"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"n": np.array([0, 3, 0])}, "do the two files belong together"),
        ({"n": np.array([0, -1, 0])}, "do the two files belong together"),
        ({"n": np.array([0, 0.5, 0])}, "do the two files belong together"),
        ({"n": np.array([0, np.nan, 0])}, "do the two files belong together"),
        ({"y": np.zeros(2)}, "not of one length"),
        ({"x": np.zeros((3, 1))}, "not of one length"),
        ({"subjects": np.zeros((3, 2))}, "not of one length"),
        ({"x": np.array([b"a", b"b", b"c"])}, "not numbers"),
    ],
)
def test_fixations_that_do_not_fit(tmp_path, change, what) -> None:
    pictures(tmp_path)
    plain_files(tmp_path / "s.hdf5", ["images/a/1.png", "images/a/2.png", "images/b/1.png"])
    good = {"x": np.ones(3), "y": np.ones(3), "n": np.array([0, 2, 0]), "subjects": np.arange(3)}
    plain_fixations(tmp_path / "f.hdf5", **good)
    assert [
        len(s.points) for s in pysaliency(tmp_path / "s.hdf5", tmp_path / "f.hdf5").stimuli
    ] == [2, 0, 1]
    plain_fixations(tmp_path / "f.hdf5", **{**good, **change})
    with pytest.raises(DataError, match=what):
        pysaliency(tmp_path / "s.hdf5", tmp_path / "f.hdf5")


def test_links_and_values_elsewhere_are_not_followed(tmp_path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.zeros((4, 4, 3), np.uint8)
    layout = h5py.VirtualLayout((4, 4, 3), np.uint8)
    layout[:] = h5py.VirtualSource(str(secret), "x", (4, 4, 3))
    with h5py.File(tmp_path / "s.hdf5", "w") as file:
        file.attrs.update({"type": "Stimuli", "version": "1.1", "size": 5, "__attributes__": "[]"})
        file["0"] = np.zeros((4, 4, 3), np.uint8)
        file["1"] = h5py.ExternalLink("secret.h5", "/x")
        file["2"] = h5py.SoftLink("/0")
        file.create_virtual_dataset("3", layout)
        file.create_dataset("4", (4, 4), np.uint8, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
    data = pysaliency(tmp_path / "s.hdf5")
    assert list(by_id(data)) == ["stimulus_0001"]
    told = reasons(data)
    for at, what in ((2, "is a link"), (3, "is a link"), (4, "other files"), (5, "other files")):
        assert what in told[f"stimulus_000{at}"]


def test_announced_terabytes_and_other_kinds(tmp_path) -> None:
    path = tmp_path / "s.hdf5"
    with h5py.File(path, "w") as file:
        file.attrs.update({"type": "Stimuli", "version": "1.1", "size": 4, "__attributes__": "[]"})
        file.create_dataset("0", (2**20, 2**20, 3), np.uint8, chunks=(1024, 1024, 3))
        file.create_dataset("1", (9000, 9000, 4), np.float64, chunks=(100, 100, 1))
        file["2"] = np.zeros((4, 4, 7))
        file["3"] = np.full((4, 4), 300.0)
    data = pysaliency(path)
    told = reasons(data)
    assert "too many" in told["stimulus_0001"]
    assert "too many" in told["stimulus_0002"]
    assert "not an image's" in told["stimulus_0003"]
    with pytest.raises(DataError, match="outside 0 to 255"):
        data.stimuli[0].image()
    plain_fixations(
        tmp_path / "f.hdf5", x=np.ones(1), y=np.ones(1), n=np.zeros(1), subjects=np.ones(1)
    )
    with pytest.raises(DataError, match="expected pysaliency's Stimuli or FileStimuli, found Fix"):
        pysaliency(tmp_path / "f.hdf5")


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("version", "9.0", "version 9.0 is not known"), ("size", 77, "77 stimuli"),
        ("size", -1, "-1 stimuli"), ("size", "one", "one stimuli"), ("type", "x\n", r"found x\\n"),
    ],
)  # fmt: skip
def test_headers_that_say_something_else(tmp_path, name, value, what) -> None:
    with h5py.File(tmp_path / "s.hdf5", "w") as file:
        file.attrs.update({"type": "Stimuli", "version": "1.1", "size": 1, "__attributes__": "[]"})
        file["0"] = np.zeros((4, 4))
        file.attrs[name] = value
    with pytest.raises(DataError, match=what):
        pysaliency(tmp_path / "s.hdf5")


def test_files_that_cannot_be_used(tmp_path) -> None:
    (tmp_path / "s.hdf5").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match="not a readable HDF5 file"):
        pysaliency(tmp_path / "s.hdf5")
    with pytest.raises(DataError, match="No file at"):
        pysaliency(tmp_path / "absent.hdf5")
    plain_files(tmp_path / "s.hdf5", [])
    with pytest.raises(DataError, match="found no images"):
        pysaliency(tmp_path / "s.hdf5")
    picture(tmp_path / "a.png")
    plain_files(tmp_path / "s.hdf5", ["a.png", "a.png"])
    with pytest.raises(DataError, match="twice"):
        pysaliency(tmp_path / "s.hdf5")


def test_names_longer_than_any_file_are_refused(tmp_path) -> None:
    """Ids from all the parts of such names would take hours."""
    plain_files(tmp_path / "s.hdf5", ["a/" * 200_000 + "x.png"] * 2)
    with pytest.raises(DataError, match="a name of 400005 characters") as caught:
        pysaliency(tmp_path / "s.hdf5")
    assert len(str(caught.value)) < 300
