"""MSI-Net as its authors publish it: a TensorFlow SavedModel."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.config.fields import OptionalSize
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.base import SaliencyModel
from clickmap_cli.models.msi_net import SALICON_SIZE, place_image, read_input_size
from clickmap_cli.runtime.errors import ConfigError, DataError, MissingExtraError, short_reason
from clickmap_cli.storage.atomic import sha256_of


class MsiNetTensorFlow(SaliencyModel):
    """Runs a SavedModel that takes (1, h, w, 3) RGB in 0..255 and returns one map.

    Such a folder is a program, not only numbers: run only those of people you trust. TensorFlow
    chooses its own device.

    Args:
        weights_path: the folder with `saved_model.pb`.
        repo_id: instead of a folder, a repository of the Hugging Face hub, such as
            alexanderkroner/MSI-Net; its snapshot in this machine's cache is used.
        download: download the repository if the cache does not have it.
        requires_size: (height, width) of the input, multiples of 8; None = each image's own.
        pad: keep the aspect ratio and pad with grey (126), which is removed from the map again;
            otherwise the image is stretched.
    """

    # the key has the folder's content, not its origin
    run_only = SaliencyModel.run_only | {"weights_path", "repo_id", "download"}

    def __init__(
        self,
        weights_path: str | None = None,
        requires_size: OptionalSize = SALICON_SIZE,
        pad: bool = True,
        repo_id: str | None = None,
        download: bool = False,
    ) -> None:
        if importlib.util.find_spec("tensorflow") is None:
            raise MissingExtraError("tensorflow", "the model 'msi_net_tf'")
        _require_one_source(weights_path, repo_id, download)
        self._repo = repo_id or ""
        self._download = download
        if weights_path:
            self._path: Path | None = _require_saved_model(Path(weights_path))
        else:
            self._path = _find_snapshot(self._repo, download)
            if self._path is not None:
                where = f"the Hugging Face cache of this machine, {self._path}"
                self.notices = (f"msi_net_tf: {self._repo} comes from {where}.",)
        self._size = read_input_size(requires_size, "msi_net_tf")
        self._pad = pad
        self._signature: Any = None
        self._input_name = ""

    def folder(self) -> Path:
        """Return the folder of the SavedModel, after downloading it if necessary.

        Raises:
            DataError: the download fails, or the folder does not hold a SavedModel.
        """
        if self._path is None:
            self._path = _require_saved_model(_download(self._repo))
        return self._path

    def weights_digest(self) -> str:
        """Return a SHA-256 over the names and contents of the folder's files."""
        digest = hashlib.sha256()
        folder = self.folder()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
                digest.update(f"{sha256_of(path)}\n".encode())
        return digest.hexdigest()

    def prepare(self) -> None:
        """Load the SavedModel.

        Raises:
            DataError: it cannot be loaded, or does not take exactly one input.
        """
        tensorflow = importlib.import_module("tensorflow")
        folder = self.folder()
        try:
            signature = tensorflow.saved_model.load(str(folder)).signatures["serving_default"]
            names = sorted(signature.structured_input_signature[1])
        except Exception as error:
            # tensorflow raises many types here; all mean that the folder holds no such network
            raise DataError(
                f"{folder}: not a SavedModel with the signature serving_default "
                f"({short_reason(error)})."
            ) from error
        if len(names) != 1:
            raise DataError(f"{folder}: the network takes {names}; it must take one image.")
        self._signature, self._input_name = signature, names[0]

    def release(self) -> None:
        """Free the network."""
        self._signature = None

    def stretched_to(self, size: Size) -> Size | None:
        """Return the input's size; None if images are padded instead."""
        return None if self._pad else place_image(size, self._size, pad=False).whole

    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """Predict the (h, w) map, without padding.

        Raises:
            DataError: the network does not return one map of its input's size.
        """
        if self._signature is None:
            self.prepare()
        frame = place_image(stimulus.size, self._size, self._pad)
        planes = frame.placed(np.moveaxis(stimulus.image(), -1, 0)) * np.float32(255)
        tensorflow = importlib.import_module("tensorflow")
        image = tensorflow.constant(np.ascontiguousarray(np.moveaxis(planes, 0, -1)[None]))
        outputs = self._signature(**{self._input_name: image})
        if len(outputs) != 1:
            raise DataError(f"{self._path}: the network returns {sorted(outputs)}, not one map.")
        values = np.asarray(next(iter(outputs.values())).numpy())
        if values.shape not in ((1, *frame.whole, 1), (1, *frame.whole), (1, 1, *frame.whole)):
            raise DataError(
                f"{self._path}: the network returns the shape {values.shape} for an input of "
                f"{list(frame.whole)}; it must be one map of that size."
            )
        return frame.cropped(values.reshape(frame.whole))


def _require_one_source(weights_path: str | None, repo_id: str | None, download: bool) -> None:
    """Raise ConfigError unless the settings name exactly one source of the SavedModel."""
    if weights_path and repo_id:
        raise ConfigError("msi_net_tf: weights_path and repo_id are both set; keep one.")
    if download and not repo_id:
        raise ConfigError(
            "msi_net_tf: download is true and repo_id is not set; set it to the repository, such "
            "as alexanderkroner/MSI-Net."
        )
    if not weights_path and not repo_id:
        raise ConfigError(
            "msi_net_tf: set weights_path, the folder of the SavedModel, or repo_id, its "
            "repository on the Hugging Face hub."
        )


def _require_saved_model(folder: Path) -> Path:
    """Return the folder; raise DataError unless it holds a SavedModel."""
    if not (folder / "saved_model.pb").is_file():
        raise DataError(
            f"msi_net_tf: no SavedModel at {folder} (looked from {Path.cwd()}); it is a folder "
            "with saved_model.pb."
        )
    return folder


def _find_snapshot(repo_id: str, download: bool) -> Path | None:
    """Find the snapshot of a repository in the hub's cache, without a network.

    Returns:
        The folder; None if the snapshot is missing or incomplete and may be downloaded.

    Raises:
        ConfigError: the name cannot be that of a repository.
        DataError: the snapshot is missing or incomplete and may not be downloaded.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    state = "not"
    try:
        folder = Path(huggingface_hub.snapshot_download(repo_id, local_files_only=True))
    except HFValidationError as error:
        raise ConfigError(
            f"msi_net_tf: repo_id is {repo_id!r}; it must be a repository of the Hugging Face hub, "
            "such as owner/name."
        ) from error
    except LocalEntryNotFoundError:
        pass
    else:
        variables = folder / "variables"
        parts = (folder / "saved_model.pb", variables / "variables.index")
        if all(path.is_file() for path in parts) and any(variables.glob("variables.data-*")):
            return folder
        state = "incomplete"
    if download:
        return None
    raise DataError(
        f"msi_net_tf: {repo_id} is {state} in the Hugging Face cache of this machine "
        f"({huggingface_hub.constants.HF_HUB_CACHE}); set download: true to download it, or "
        "weights_path to its folder."
    )


def _download(repo_id: str) -> Path:
    """Download a repository into the hub's cache; return its folder."""
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(repo_id))
    except Exception as error:
        # the hub's client raises many types; all mean that the download failed
        raise DataError(
            f"msi_net_tf: {repo_id} could not be downloaded ({short_reason(error)}); download it "
            "elsewhere and set weights_path to its folder."
        ) from error
