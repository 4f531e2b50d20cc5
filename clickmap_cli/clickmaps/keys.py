"""Image keys: the name of an image in all files, and the matching of other names to it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from unicodedata import normalize

from clickmap_cli.runtime.errors import DataError

ALL = "all"
"""The category of images that lie in no folder."""

_MAX_NAME_BYTES = 200
"""File systems allow 255 bytes; endings such as `_overlay.png` and `.partial` are added."""

_SHOWN = 5
"""Number of names that a message holds at most."""


def image_key(image_path: str, remove_string: str | None = None) -> str:
    r"""Return an image's key: its path with `\` as `/`, and without `remove_string` at its front.

    Raises:
        ValueError: the key is empty, absolute, climbs out of its folder, or holds control
            characters; the text says which.

    >>> image_key("imagenet\\val\\n01\\a.JPEG", "imagenet/val/")
    'n01/a.JPEG'
    """
    key = image_path.replace("\\", "/")
    if remove_string:
        front = remove_string.replace("\\", "/")
        if key.startswith(front):
            key = key[len(front) :].lstrip("/")
    if not key.strip():
        raise ValueError("image_path is empty")
    if not key.isprintable():
        raise ValueError("image_path holds control characters, or is not UTF-8")
    if key[1:2] == ":" and key[0].isalpha():
        raise ValueError(
            f"image_path is absolute, a Windows path on drive {key[:2]}; name it inside image_dir, "
            f"or cut its front with remove_string, such as '{key[:2]}\\data\\'"
        )
    if key.startswith("/") or key[1:2] == ":":
        raise ValueError("image_path is absolute; name it inside image_dir (see remove_string)")
    parts = key.split("/")
    if ".." in parts:
        raise ValueError("image_path climbs out of its folder ('..')")
    if parts[-1] in ("", "."):
        raise ValueError("image_path names a folder")
    if len(flat_name(key).encode()) > _MAX_NAME_BYTES:
        raise ValueError("image_path is too long for a file name")
    return key


def flat_name(key: str) -> str:
    """Return the key as one name: `/` becomes `_`."""
    return key.replace("/", "_")


def category_of(key: str) -> str:
    """Return the name of the folder that holds the file, or "all" if there is none.

    >>> category_of("CO3D/mouse/1.png"), category_of("1.png")
    ('mouse', 'all')
    """
    parts = key.split("/")
    return parts[-2] if len(parts) > 1 and parts[-2] not in ("", ".") else ALL


def require_flat_names(keys: Iterable[str]) -> None:
    """Raise DataError if two keys give the same flat name.

    Raises:
        DataError: two keys give the same name; the message holds both.
    """
    seen: dict[str, str] = {}
    for key in keys:
        other = seen.setdefault(flat_name(key), key)
        if other != key:
            raise DataError(
                f"The images '{other}' and '{key}' would both be written as '{flat_name(key)}'; "
                "rename one, or cut different fronts with remove_string."
            )


def picture_names(names: Iterable[str]) -> dict[str, str]:
    """Return the stems of the pictures of images: the images' names without their endings.

    Names that would then be equal, ignoring case, keep their endings.

    Args:
        names: file names of all images, each once.

    >>> picture_names(["cat_1.png", "cat_2.jpg", "cat_2.png"])
    {'cat_1.png': 'cat_1', 'cat_2.jpg': 'cat_2.jpg', 'cat_2.png': 'cat_2.png'}
    """
    short = {name: name.removesuffix(PurePosixPath(name).suffix) for name in names}
    takers = Counter(word for pair in short.items() for word in {part.lower() for part in pair})
    return {name: stem if takers[stem.lower()] == 1 else name for name, stem in short.items()}


def look_alikes(keys: Iterable[str]) -> list[tuple[str, str]]:
    r"""Find keys that differ only in the case of letters or in their Unicode form.

    Returns:
        Pairs of the first key and a key that looks like it, in the order of `keys`.

    >>> look_alikes(["cats/1.jpg", "Cats/1.JPG", "caf\u00e9.jpg", "cafe\u0301.jpg"])[0]
    ('cats/1.jpg', 'Cats/1.JPG')
    """
    first: dict[str, str] = {}
    pairs = []
    for key in keys:
        other = first.setdefault(_fold_case(key), key)
        if other != key:
            pairs.append((other, key))
    return pairs


def look_alike_notices(keys: Iterable[str]) -> Iterator[str]:
    """Yield a notice about keys that differ only in case or in their Unicode form."""
    pairs = look_alikes(keys)
    if not pairs:
        return
    shown = "; ".join(f"{_escape(one)} and {_escape(other)}" for one, other in pairs[:_SHOWN])
    more = f"; and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    yield (
        f"{len(pairs)} image keys differ from another only in the case of letters or in their "
        f"Unicode form, and count as other images: {shown}{more}. Spell them alike where they mean "
        "one image."
    )


def _fold_case(key: str) -> str:
    if key.isascii():
        return key.lower()
    return normalize("NFC", normalize("NFC", key).casefold())


def _escape(key: str) -> str:
    """Escape a key: forms of one letter look alike when they are printed."""
    return ascii(key)[:_MAX_NAME_BYTES]


def some_names(names: Sequence[str], most: int = _SHOWN) -> str:
    """Quote the first names of a list, and say how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name[:_MAX_NAME_BYTES]) for name in names[:most]) + more


def match_keys(names: Sequence[str], keys: Sequence[str]) -> dict[str, str]:
    """Match names to keys, whole or by a unique ending of whole path parts, either way.

    A name may be shorter than the key (`a.jpg` for `cats/a.jpg`) or longer (`val/cats/a.jpg`).

    Args:
        names: names from a config, a metadata file or a mask folder.
        keys: the image keys.

    Returns:
        name -> key, for names that match exactly one key.
    """
    whole = set(keys)
    by_file: defaultdict[str, list[str]] = defaultdict(list)
    for key in keys:
        by_file[key.rsplit("/", 1)[-1]].append(key)
    found = {}
    for name in names:
        tidy = name.replace("\\", "/")
        if tidy in whole:
            found[name] = tidy
            continue
        near = [
            key
            for key in by_file.get(tidy.rsplit("/", 1)[-1], ())
            if key.endswith("/" + tidy) or tidy.endswith("/" + key)
        ]
        if len(near) == 1:
            found[name] = near[0]
    return found
