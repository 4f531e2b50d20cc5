"""Example pictures: which images, and how many participants they say."""

from __future__ import annotations

from clickmap_cli.config.loading import load_experiment
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.prepare import run as prepare
from tests.helpers.studies import write_csv


def test_participants_are_people_not_trials(tmp_path) -> None:
    """Ten images have two participants; an eleventh has one, who came five times."""
    clicks = [(3, 4), (5, 6), (7, 8)]
    rows = [(f"i{at:02d}.png", user, clicks) for at in range(10) for user in ("ann", "bob")]
    rows += [("often.png", "ann", clicks[:k] * 2) for k in range(1, 4)] * 2
    config = load_experiment(None, [
        f"clickme_data={write_csv(tmp_path / 'trials.csv', rows)}", f"assets={tmp_path}",
        "image_shape=[16,16]", "min_clicks=1", "min_subjects=1", "filter_duplicates=false",
        "duplicate_maps=keep_all", "blur_size=3",
    ]).config  # fmt: skip
    drawn = {}

    def draw(example) -> None:
        drawn[example.key] = example.n_participants
        example.path.parent.mkdir(exist_ok=True)
        example.path.write_bytes(b"picture")

    prepare.run(config, Silent(), draw)
    assert drawn == {f"i{at:02d}.png": 2 for at in range(10)}
