"""The flat schema of an experiment, which `prepare`, `ceiling` and `visualize` read from one YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.config.fields import MOST_SIDE, fail, is_file_name, key, max_lost_key, workers_key
from clickmap_cli.runtime.devices import DEVICES

METHODS = ("split-half", "hold-one-out")
"""Methods of a ceiling."""

METRICS = (
    "spearman", "pearson", "auc", "iou_auc", "crossentropy", "kl", "sim", "cosine", "emd",
    "rank_pearson", "rank_cosine", "rankorder", "rsa",
)  # fmt: skip


def _unlimited(value: object) -> object:
    """Return None for -1, which the field's files write for no limit."""
    return None if value == -1 else value


# fmt: off
# One line per key, so that the schema reads as a table.
@dataclass
class ExperimentConfig:
    """One experiment. Relative paths are taken from the folder the command is called in."""

    # --- what is read -----------------------------------------------------------------------
    experiment_name: str = key("experiment", "Name of the experiment, and of its folder `<assets>/<experiment_name>/` unless output_dir is set.", "run")
    clickme_data: str | None = key(None, "Raw trials: .csv, .tsv or .txt (commas or tabs; also .gz, .zst), .parquet or .npz.", "input")
    image_dir: str | None = key(None, "Folder of the images; an image is `<image_dir>/<image key>`. Only pictures need it.", "run")
    remove_string: str | None = key(None, "Prefix to remove from every image_path.", "maps")
    category_column: str | None = key(None, "Column that names the category; null = the folder that holds the image.", "maps")
    metadata_file: str | None = key(None, "Image key -> (width, height) of its clicks (.npy, .json, .yaml); null = all are image_shape.", "input")

    max_lost: float = max_lost_key()

    # --- filters, in the order they are applied -----------------------------------------------
    filter_mobile: bool = key(False, "Drop trials made on a phone.", "maps")
    catch_threshold: float = key(0.95, "Minimum catch-trial score, if the data has one.", "maps", minimum=0, maximum=1)
    filter_duplicates: bool = key(True, "Keep only the first submission of each user for an image.", "maps")
    file_inclusion_filter: list[str] = key([], "Keep images whose key contains this (or one of these).", "maps")
    file_exclusion_filter: list[str] = key([], "Drop images whose key contains this (or one of these).", "maps")
    class_filter_file: str | None = key(None, "Categories to keep: .npy (dict or list), .json, .yaml or .txt.", "input")
    participant_filter: str | None = key(None, "Trained participant-quality model, which drops careless and cheating participants: the participant_quality.pt of train-classifier.", "input")
    min_clicks: int = key(10, "Minimum clicks in a trial, after clicks outside the image are dropped.", "maps", minimum=1)
    max_clicks: int | None = key(75, "Maximum clicks in a trial; null = no limit.", "maps", minimum=1, parse=_unlimited)
    process_max: str = key("trim", "Trials over max_clicks: trim (keep the first ones) or exclude.", "maps", choices=("trim", "exclude"))
    min_pixels: int = key(0, "Minimum pixels above zero in a trial's map, before cropping; 0 = off.", "maps", minimum=0)
    duplicate_maps: str = key("keep_first", "Trials of an image that click the same set of pixels: keep_first, keep_all or drop_all.", "maps", choices=("keep_first", "keep_all", "drop_all"))
    max_subjects: int | None = key(None, "Maximum participants per image (the first ones); null = all.", "maps", minimum=1, parse=_unlimited)
    min_subjects: int = key(10, "Minimum participants per image.", "maps", minimum=1)
    mask_dir: str | None = key(None, "Foreground masks: images, .npy or .pth, named like the images.", "input")
    mask_threshold: float = key(0.5, "Drop an image when the IoU of its heat with its mask reaches this.", "maps", minimum=0, maximum=1)

    # --- maps ---------------------------------------------------------------------------------
    image_shape: list[int] = key([256, 256], "Height and width of a map, in pixels.", "maps", minimum=1, maximum=MOST_SIDE, length=2)
    center_crop: list[int] | None = key(None, "Height and width cut from the centre; null = no crop.", "maps", minimum=1, maximum=MOST_SIDE, length=2)
    kernel_type: str = key("circle", "Blur: circle (two passes of a flat disk), gaussian (one pass) or none.", "maps", choices=("circle", "gaussian", "none"))
    blur_size: int | None = key(None, "Kernel size in pixels; an even size becomes the next odd one; null = 21, or, where a gaussian has a blur_sigma, 4 sigma to each side.", "maps", minimum=1)
    blur_sigma: float | None = key(None, "Sigma of the gaussian in pixels; null = sqrt of the odd size.", "maps", minimum=1e-6, maximum=MOST_SIDE)
    max_kernel_size: int = key(51, "Largest kernel for images of their own size; a larger one is reduced to it, and sigma in proportion.", "maps", minimum=1)
    exponential_decay: bool = key(False, "Weight click k (from 0) by exp(-k / decay_tau).", "maps")
    decay_tau: float = key(0.5, "Decay constant in clicks.", "maps", minimum=1e-9)

    # --- what is written ----------------------------------------------------------------------
    assets: str = key("assets", "Folder that holds the experiments' folders.", "run")
    output_dir: str | None = key(None, "The experiment's own folder; null = `<assets>/<experiment_name>`.", "run")
    output_format: str = key("auto", "auto or hdf5 (maps.h5), numpy (maps/*.npy) or npz (maps.npz).", "output", choices=("auto", "hdf5", "numpy", "npz"))
    save_maps: str = key("mean", "mean, participants or both.", "output", choices=("mean", "participants", "both"))
    click_bins: int | None = key(None, "Number of cumulative mean maps to write too; null = none.", "output", minimum=1)
    time_based_bins: bool = key(False, "Bins hold the first k/T of each trial, not its first k clicks.", "output")
    percentile_thresh: float = key(50, "Percentile of clicks per trial written to medians.json.", "output", minimum=0, maximum=100)
    display_image_keys: list[str] = key(["auto"], "Images drawn as examples: a list, auto (the ten with the most participants) or null.", "run")
    hdf5_compression: str | None = key("gzip", "gzip, lzf or null.", "output", choices=("gzip", "lzf"))
    hdf5_compression_level: int = key(1, "Level of gzip, 0 to 9.", "output", minimum=0, maximum=9)

    # --- ceilings -----------------------------------------------------------------------------
    metric: list[str] = key(["spearman"], "A metric or a list of metrics, in upper or lower case.", "ceiling", choices=METRICS)
    randomization_iters: int = key(10, "Random splits per image (split-half).", "ceiling", minimum=1)
    null_iterations: int = key(10, "Draws of another image for the null.", "ceiling", minimum=1)
    bootstrap: str = key("images", "Unit that the ceiling's interval resamples: images, or (hold-one-out) participants or crossed; the null's interval always resamples images.", "ceiling", choices=("images", "participants", "crossed"))
    target_reliability: float = key(0.9, "Target reliability for the subject curve.", "ceiling", minimum=0.01, maximum=0.999)
    seed: int = key(0, "Seed of every random draw.", "ceiling", minimum=0)

    # --- how it runs --------------------------------------------------------------------------
    n_jobs: int = workers_key("Workers; -1 = every core. Results never depend on it.")
    backend: str = key("loky", "The work runs in processes (loky), in threads (threading) or on a Dask cluster (dask). Results never depend on it.", "run", choices=("loky", "threading", "dask"))
    scheduler: str | None = key(None, "Address of the Dask cluster's scheduler, such as tcp://192.168.0.7:8786, for backend: dask.", "run")
    use_gpu_blurring: bool = key(False, "Blur with torch on the device, in batches; same maps to 1e-5.", "run")
    gpu_batch_size: int = key(1024, "Trial maps blurred at once on the device.", "run", minimum=1)
    correlation_batch_size: int = key(1024, "Trial maps of an image held at once while it is scored.", "run", minimum=1)
    device: str = key("auto", "auto, cpu, cuda or mps.", "run", choices=DEVICES)

    @property
    def folder(self) -> Path:
        """The experiment's folder: `prepare`, `ceiling` and `visualize` read and write there."""
        if self.output_dir is not None:
            return Path(self.output_dir)
        return Path(self.assets) / self.experiment_name

# fmt: on

_BLUR_SIZE = 21
_SIGMAS = 4


def blur_window(config: ExperimentConfig) -> int:
    """Return the kernel size of a configuration, or the default if it sets none.

    >>> blur_window(ExperimentConfig()), blur_window(ExperimentConfig(blur_sigma=20))
    (21, 21)
    >>> blur_window(ExperimentConfig(kernel_type="gaussian", blur_sigma=20))
    161
    """
    if config.blur_size is not None:
        return config.blur_size
    if config.kernel_type == "gaussian" and config.blur_sigma is not None:
        return 2 * math.ceil(_SIGMAS * config.blur_sigma) + 1
    return _BLUR_SIZE


def check_experiment(config: ExperimentConfig, sources: Mapping[str, str]) -> None:
    """Raise unless the values of an experiment fit together; set the size of its kernel.

    Raises:
        ConfigError: two keys contradict each other, or one has the wrong form.
    """
    if not is_file_name(config.experiment_name):
        text = f"is {config.experiment_name!r}; it must be a plain folder name, without slashes."
        fail(sources, "experiment_name", text)
    if config.output_dir is not None and sources.get("assets") == "command line":
        text = f"is {config.assets}, and results go to {config.output_dir}; name one."
        fail(sources, "assets", text)
    if config.center_crop is not None:
        limit = [min(config.image_shape)] * 2 if config.metadata_file else config.image_shape
        if any(crop > side for crop, side in zip(config.center_crop, limit, strict=True)):
            text = f"is {config.center_crop}; it is larger than the map {limit}."
            fail(sources, "center_crop", text)
    if config.max_clicks is not None and config.max_clicks < config.min_clicks:
        text = f"is {config.max_clicks}, below min_clicks {config.min_clicks}."
        fail(sources, "max_clicks", text)
    if not config.metric:
        fail(sources, "metric", f"is empty. Known: {', '.join(METRICS)}.")
    config.metric = list(dict.fromkeys(config.metric))
    # store one number, so that hashes and manifests do not depend on how the size was set
    config.blur_size = blur_window(config)


ALIASES = {
    "image_path": "image_dir",
    "clickme_path": "clickme_data",
    "n_splits": "randomization_iters",
}
"""Old name -> current name."""

NO_LONGER_NEEDED = frozenset({
    "preprocess_db_data", "debug", "clickme_folder", "parallel_prepare_maps", "parallel_save",
    "parallel_clickmap_processing", "chunk_size", "batch_size", "use_batch_processing",
    "use_cython", "multi_thresh_gpu", "save_json", "temp_dir", "processed_clickme_file",
    "processed_clickmap_bins", "processed_medians", "example_image_output_dir",
    "imagenet_train_folder", "imagenet_val_folder",
})  # fmt: skip
"""Keys that the field's files have and that no longer do anything."""

NOT_SUPPORTED_YET = frozenset({"constancy", "camera_path", "depth_path"})
"""Keys of the field's constancy experiments, which clickmap does not run yet."""
