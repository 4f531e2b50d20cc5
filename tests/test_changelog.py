"""The changelog keeps the form of Keep a Changelog, and says which numbers change."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.version import Version

import clickmap_cli

TEXT = (Path(__file__).parents[1] / "CHANGELOG.md").read_text()
KINDS = {"Numbers change", "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def parts(mark: str, text: str) -> list[tuple[str, str]]:
    """Headings of a level, each with what stands under it."""
    found = re.split(rf"^{mark} (.+)$", text, flags=re.MULTILINE)[1:]
    return list(zip(found[::2], found[1::2], strict=True))


def test_unreleased_stands_first_and_releases_follow_newest_first() -> None:
    assert TEXT.startswith("# Changelog\n")
    assert "keepachangelog.com" in TEXT
    first, *releases = [title for title, _ in parts("##", TEXT)]
    assert first == "[Unreleased]"
    dated = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}", title) for title in releases]
    assert all(dated), releases
    versions = [Version(found[1]) for found in dated if found]
    assert versions == sorted(versions, reverse=True)
    assert all(version <= Version(clickmap_cli.__version__) for version in versions)


def test_every_version_says_which_numbers_change_and_nothing_is_empty() -> None:
    for version, text in parts("##", TEXT):
        kinds = dict(parts("###", text))
        assert next(iter(kinds)) == "Numbers change", version
        assert set(kinds) <= KINDS, version
        for kind, lines in kinds.items():
            assert re.search(r"^- ", lines, re.MULTILINE), f"{version}, {kind}"
