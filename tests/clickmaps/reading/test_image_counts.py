"""Counting images without their clicks finds what reading everything finds."""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickmap_cli.clickmaps.geometry import ImageShapes
from clickmap_cli.clickmaps.reading.image_counts import rows_per_image
from clickmap_cli.clickmaps.reading.trials_file import ReadOptions, read_trials
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Silent
from tests.helpers.studies import random_rows, write_csv

NAMES = st.sampled_from(
    ["a.png", "cats/1.png", "cats\\2.png", 'say "hi".png', "with, comma.png", "ä/ö.png", "b c.png"]
)
CLICKS = ['{"(1,2),(3,4)"}', "[(1, 2)]", "[[5, 6], [7, 8]]"]


def read_counts(path, remove=None) -> dict[str, int]:
    options = ReadOptions(ImageShapes((64, 64), None), remove)
    trials = read_trials(path, options, lambda *_: None, Silent()).trials
    return dict(zip(trials.images.tolist(), np.bincount(trials.image).tolist(), strict=True))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(NAMES, st.sampled_from(CLICKS)), min_size=1, max_size=20),
    order=st.permutations(["image_path", "clicks", "user_id", "other"]),
    quoted=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_a_table_of_any_layout(tmp_path, rows, order, quoted, ending) -> None:
    path = tmp_path / "trials.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        style = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
        writer = csv.DictWriter(file, order, lineterminator=ending, quoting=style)
        writer.writeheader()
        for at, (image, clicks) in enumerate(rows):
            writer.writerow(
                {"image_path": image, "clicks": clicks, "user_id": f"u{at}", "other": "x,y"}
            )
    assert rows_per_image(path, None, None, Silent()) == read_counts(path)


@pytest.mark.parametrize("header", ["image_path,clicks,user_id", "clicks,user_id,image_path"])
def test_no_record_over_several_lines_is_missed(tmp_path, header) -> None:
    path = tmp_path / "trials.csv"
    fields = {"image_path": '"a.png"', "clicks": '"[(1, 2),\n(3, 4),\n(5, 6)]"', "user_id": "u"}
    row = ",".join(fields[name] for name in header.split(","))
    odd = ",".join(f'"{name}' for name in header.split(","))  # three quotes that nothing closes
    path.write_text("\n".join([header, row, row.replace("a.png", "b.png"), odd, row, ""]))
    read = read_counts(path)
    assert read == {"a.png": 2, "b.png": 1}
    counted = rows_per_image(path, None, None, Silent())
    assert all(counted[key] >= times for key, times in read.items())
    assert counted["b.png"] == 1


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet", ".npz"])
def test_every_format(tmp_path, ending) -> None:
    rows = random_rows(0, images=5, users=4)
    plain = write_csv(tmp_path / "trials.csv", rows)
    path = tmp_path / f"trials{ending}"
    columns = {
        "image_path": [row[0] for row in rows], "user_id": [row[1] for row in rows],
        "clickmap_x": [[x for x, _ in row[2]] for row in rows],
        "clickmap_y": [[y for _, y in row[2]] for row in rows],
    }  # fmt: skip
    if ending == ".csv.gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    elif ending == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    elif ending == ".npz":
        lists = {name: np.empty(len(rows), dtype=object) for name in ("clickmap_x", "clickmap_y")}
        for name, array in lists.items():
            array[:] = columns[name]
        np.savez(path, file_pointer=columns["image_path"], user_id=columns["user_id"], **lists)
    found = rows_per_image(path, "cat0", None, Silent())
    assert found == read_counts(path, "cat0")
    assert sum(found.values()) == 20


def test_names_that_are_refused_are_not_counted(tmp_path) -> None:
    path = tmp_path / "trials.csv"
    path.write_text(
        'image_path,clicks,user_id\n/etc/x,"[(1,2)]",a\n../y,"[(1,2)]",b\nz.png,"[]",c\n'
    )
    assert rows_per_image(path, None, None, Silent()) == {"z.png": 1}


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"a,b\n1,2\n", "no column image_path"),
        ("t.csv.gz", b"no gzip", "damaged"),
        ("t.parquet", b"no parquet", "Parquet"),
        ("t.npz", b"no zip", "npz"),
        ("t.xlsx", b"", "trials come as"),
    ],
)
def test_what_is_no_table_is_a_sentence(tmp_path, name, data, says) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=says):
        rows_per_image(tmp_path / name, None, None, Silent())
    with pytest.raises(DataError, match="category_column"):
        rows_per_image(write_csv(tmp_path / "ok.csv", random_rows(0)), None, "kind", Silent())
