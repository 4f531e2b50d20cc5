"""Image keys: what an image is called everywhere, and how other names find it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from clickmap_cli.runtime.errors import DataError

ALL = "all"
"""The category of images that lie in no folder."""

_MAX_NAME_BYTES = 200
"""File systems allow 255; endings such as `_overlay.png` and `.partial` come on top."""


def image_key(image_path: str, remove_string: str | None = None) -> str:
    r"""An image's key: its path with `\` turned to `/` and `remove_string` cut from its front.

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
    """The key as one name: `/` becomes `_`."""
    return key.replace("/", "_")


def category_of(key: str) -> str:
    """The folder that holds the file, or "all" where there is none.

    >>> category_of("CO3D/mouse/1.png"), category_of("1.png")
    ('mouse', 'all')
    """
    parts = key.split("/")
    return parts[-2] if len(parts) > 1 and parts[-2] not in ("", ".") else ALL


def check_flat_names(keys: Iterable[str]) -> None:
    """Two keys must not give one name.

    Raises:
        DataError: two do; both are named.
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
    """What pictures of images are called, before `.png`: their names without the images' endings.

    Where two would then have one name, in whatever case of letters, they keep their endings.

    Args:
        names: of all images, as they name files; each once.

    >>> picture_names(["cat_1.png", "cat_2.jpg", "cat_2.png"])
    {'cat_1.png': 'cat_1', 'cat_2.jpg': 'cat_2.jpg', 'cat_2.png': 'cat_2.png'}
    """
    short = {name: name.removesuffix(PurePosixPath(name).suffix) for name in names}
    takers = Counter(word for pair in short.items() for word in {part.lower() for part in pair})
    return {name: stem if takers[stem.lower()] == 1 else name for name, stem in short.items()}


def match_keys(names: Sequence[str], keys: Sequence[str]) -> dict[str, str]:
    """Names that stand for keys, whole or by a unique ending of whole path parts, either way.

    A name may be shorter than the key (`a.jpg` for `cats/a.jpg`) or longer (`val/cats/a.jpg`).

    Args:
        names: words from a config, a metadata file or a mask folder.
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
