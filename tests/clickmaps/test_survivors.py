"""Names in filters that match no image."""

from __future__ import annotations

from clickmap_cli.clickmaps.survivors import unmatched_names
from clickmap_cli.config.experiment import ExperimentConfig
from tests.helpers.studies import trials_of

TRIALS = trials_of([(key, "u", [(1, 1)]) for key in ("cat/1.png", "dog/1.png", "dog/2.png")])


def found(sizes=None, categories=None, trials=TRIALS, **values) -> list[str]:
    return list(unmatched_names(trials, ExperimentConfig(**values), sizes, categories))


def test_every_category_that_matches_no_image_is_named() -> None:
    assert found(categories=frozenset({"cat", "dog"})) == []
    (text,) = found(categories=frozenset({"cat", "catz", "Dog"}))
    assert text == (
        "class_filter_file: 2 of 3 categories match no image: 'Dog', 'catz' (the images' "
        "categories are 'cat', 'dog')."
    )
    (text,) = found(categories=frozenset(f"c{i:02d}" for i in range(25)))
    assert "'c19' and 5 more" in text


def test_every_word_of_a_filter_that_matches_no_image_is_named() -> None:
    assert found(file_inclusion_filter=["cat"], file_exclusion_filter=["dog/2", "1.png"]) == []
    texts = found(file_inclusion_filter=["cat", "Cat", "x\ny"], file_exclusion_filter=["cow"])
    wanted = (
        "file_inclusion_filter: no image's key contains 'Cat', 'x\\ny' (one of the keys is "
        "'cat/1.png')."
    )
    assert texts == [
        wanted,
        "file_exclusion_filter: no image's key contains 'cow' (one of the keys is 'cat/1.png').",
    ]


def test_entries_of_the_table_of_sizes_that_match_no_image_are_counted() -> None:
    assert found(sizes={"cat/1.png": (2, 2), "2.png": (3, 3)}) == []
    (text,) = found(sizes={"cat/1.png": (2, 2), "1.png": (3, 3), "cow/1.png": (4, 4)})
    assert "2 of 3 entries name no image of the trials, or more than one: '1.png', 'cow/" in text


def test_without_images_there_is_no_notice() -> None:
    assert found(categories=frozenset({"cat"}), trials=trials_of([]), sizes={"a": (1, 1)}) == []
