from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.config.experiment import (
    ALIASES,
    NO_LONGER_NEEDED,
    NOT_SUPPORTED_YET,
    ExperimentConfig,
    blur_window,
)
from clickmap_cli.config.fields import default_of, keys_of
from clickmap_cli.config.loading import (
    BENCHMARK,
    EXPERIMENT,
    as_dict,
    experiment_from_values,
    load_any,
    load_config,
    load_experiment,
    missing_keys,
    numbers_hash,
    updated_text,
)
from clickmap_cli.runtime.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))

# what files of the field's projects carry, values as found in them
IN_THE_WILD = """
assets: assets/exp
temp_dir: temp/imgnet_val.h5
blur_size: 21
center_crop:
- 224
- 224
class_filter_file: false
clickme_data: clickme_datasets/sampled.csv
correlation_batch_size: 1024
debug: false
display_image_keys: auto
example_image_output_dir: images
experiment_name: exp_10_subjects
file_exclusion_filter: null
file_inclusion_filter: ILSVRC2012_val
filter_mobile: true
gpu_batch_size: 4096
image_path: /data/imagenet/val
image_shape:
- 256
- 256
mask_dir: False
mask_threshold: 0
max_clicks: 1000000
metadata_file: false
metric: AUC  # upper case
min_clicks: 1
min_subjects: 20
max_subjects: 10
n_jobs: -1
null_iterations: 50
randomization_iters: 20
parallel_prepare_maps: true
parallel_save: false
parallel_clickmap_processing: true
participant_filter: false
percentile_thresh: 50
preprocess_db_data: true
processed_clickme_file: processed.npz
processed_medians: medians.json
remove_string: imagenet/val/
time_based_bins: true
multi_thresh_gpu: multi_thresh_gpu
output_format: "hdf5"
processed_clickmap_bins: bins.npy
chunk_size: 100000
batch_size: 14000
use_batch_processing: true
use_cython: true
hdf5_compression: gzip
hdf5_compression_level: 0
save_json: true
filter_duplicates: true
constancy: true
camera_path: params.json
depth_path: depths
clickme_folder: clickme
imagenet_train_folder: train
imagenet_val_folder: val
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    return path


def test_files_of_the_field_run_unchanged(tmp_path) -> None:
    loaded = load_experiment(write(tmp_path, IN_THE_WILD))
    config = loaded.config
    assert config.image_dir == "/data/imagenet/val"
    assert config.metric == ["auc"]
    assert (config.mask_dir, config.metadata_file, config.participant_filter) == (None,) * 3
    assert (config.min_subjects, config.max_subjects, config.randomization_iters) == (20, 10, 20)
    notices = " ".join(loaded.notices)
    named = NO_LONGER_NEEDED & set(yaml.safe_load(IN_THE_WILD))
    assert named == NO_LONGER_NEEDED  # the file above carries them all
    for name in (*named, "constancy", "camera_path", "depth_path"):
        assert notices.count(f"{name}") >= 1, name
    assert "kernel_type is not set" in notices


def test_a_participant_filter_is_a_path_or_nothing(tmp_path) -> None:
    for text, wanted in (("models/quality.pt", "models/quality.pt"), ("false", None), ("", None)):
        loaded = load_experiment(write(tmp_path, f"participant_filter: {text}\n"))
        assert loaded.config.participant_filter == wanted


def test_switched_off_unsupported_keys_are_not_mentioned(tmp_path) -> None:
    loaded = load_experiment(write(tmp_path, "constancy: false\nkernel_type: none\n"))
    assert loaded.notices == ()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads(path) -> None:
    load_any(path)


def test_shipped_configs_are_there() -> None:
    assert {"co3d_config.yaml", "jay_imagenet_0.1_config.yaml", "batch_size_template.yaml"} <= {
        path.name for path in CONFIGS
    }


def test_overrides_win_over_the_file_and_options_over_both(tmp_path) -> None:
    path = write(tmp_path, "\nblur_size: 5\nmin_clicks: 3\n")
    loaded = load_experiment(path, ["blur_size=7", "metric=[spearman,AUC]"], {"n_jobs": 2})
    assert (loaded.config.blur_size, loaded.config.min_clicks) == (7, 3)
    assert loaded.config.metric == ["spearman", "auc"]
    assert loaded.sources["blur_size"] == "command line"
    assert loaded.sources["min_clicks"] == "experiment.yaml:3"
    assert loaded.sources["n_jobs"] == "--n-jobs"
    assert loaded.sources["max_clicks"] == "default"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("blur_sise: 5", "experiment.yaml:1: unknown key 'blur_sise'. Did you mean 'blur_size'?"),
        ("blur_size: wide", "blur_size is 'wide'; it must be a whole number"),
        ("blur_size: 2.5", "blur_size is 2.5; it must be a whole number"),
        ("blur_size: 0", "the least allowed is 1"),
        ("blur_size: .inf", "blur_size is inf; it must be a whole number"),
        ("catch_threshold: .nan", "must be finite"),
        ("catch_threshold: nan", "must be finite"),
        ("catch_threshold: 2", "the most allowed is 1"),
        ("metric: spearmann", "metric is 'spearmann'; it must be one of spearman, pearson"),
        ("metric: spearmann", "Did you mean 'spearman'?"),
        ("metric: []", "metric is empty"),
        ("kernel_type: gausian", "it must be one of circle, gaussian, none"),
        ("image_shape: [256]", "image_shape is [256]; it must hold 2 values"),
        ("image_shape: 256", "image_shape is 256; it must be a list of 2 whole numbers"),
        ("center_crop: [300, 300]", "larger than the map"),
        ("max_clicks: 5", "below min_clicks 10"),
        ("n_jobs: 0", "n_jobs is 0"),
        ("experiment_name: ../x", "plain folder name"),
        ("file_inclusion_filter: {a: 3}", "must be a word or a list of words"),
        ("file_inclusion_filter: ['']", "must be a word or a list of words"),
        ("image_dir: a\nimage_path: b", "'image_path' is the old name of 'image_dir'"),
        ("a: [", "not readable as YAML"),
        ("blur_size:\t5", "spaces, not tabs"),
        ("- a\n- b", "found a list"),
        ("3: 4", "is not a word"),
        ("blur_size: 1\nblur_size: 2", "blur_size"),
        ("clickme_data: ${nowhere}", "nowhere"),
        ("clickme_data: !!python/object/apply:os.system ['true']", "not readable as YAML"),
    ],
)
def test_mistakes_are_named_before_work_starts(tmp_path, line, says) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(write(tmp_path, line))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["blur_size", "=3", "blur_size=[", "blur_sise=3"])
def test_broken_overrides(word) -> None:
    with pytest.raises(ConfigError):
        load_experiment(None, [word])


def test_missing_file_folder_and_binary(tmp_path) -> None:
    for path, says in (
        (tmp_path / "none.yaml", "No config file"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(ConfigError, match=says):
            load_experiment(path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="cannot be read as text"):
        load_experiment(tmp_path / "b.yaml")


def test_every_key_is_documented_and_has_a_scope() -> None:
    for name, key in keys_of(ExperimentConfig).items():
        assert key.help.endswith("."), name
        assert key.scope in ("maps", "output", "ceiling", "input", "run"), name
    known = set(keys_of(ExperimentConfig))
    assert set(ALIASES.values()) <= known
    assert not (set(ALIASES) | NO_LONGER_NEEDED | NOT_SUPPORTED_YET) & known


def test_defaults_pass_their_own_checks() -> None:
    loaded = load_experiment(None)
    for name, value in as_dict(loaded.config).items():
        assert value == (21 if name == "blur_size" else default_of(ExperimentConfig, name))


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (["blur_sigma=20"], 21),  # a circle has no sigma
        (["kernel_type=gaussian"], 21),
        (["kernel_type=gaussian", "blur_sigma=20"], 161),
        (["kernel_type=gaussian", "blur_sigma=0.3"], 5),
        (["kernel_type=gaussian", "blur_sigma=20", "blur_size=9"], 9),
        (["kernel_type=gaussian", "blur_sigma=20", "blur_size=false"], 161),
    ],
)
def test_a_sigma_alone_sets_the_window(tmp_path, words, size) -> None:
    loaded = load_experiment(None, words)
    config = loaded.config
    assert config.blur_size == size
    assert (loaded.sources["blur_size"] == "from blur_sigma") == (
        size != 21 and not any("blur_size" in word for word in words)
    )
    assert experiment_from_values(as_dict(config)) == config
    path = write(tmp_path, "\n".join(words).replace("=", ": "))
    assert load_experiment(path).config.blur_size == size
    from_code = ExperimentConfig(
        kernel_type=config.kernel_type, blur_sigma=config.blur_sigma,
        blur_size=9 if size == 9 else None,
    )  # fmt: skip
    assert blur_window(from_code) == size
    assert MapSettings.from_config(from_code).blur_size == size


def test_the_hash_moves_with_numbers_only() -> None:
    def hashed(*words, scopes=("maps",), more=()):
        return numbers_hash(load_experiment(None, words).config, scopes, *more)

    base = hashed()
    assert hashed("n_jobs=3", "assets=x", "image_dir=y", "metric=auc", "clickme_data=z.csv") == base
    assert hashed("blur_size=5") != base
    assert hashed(more=["abc"]) != base
    assert hashed("blur_size=21") == hashed("blur_size=null") == base
    gaussian = ("kernel_type=gaussian", "blur_sigma=20")
    assert hashed(*gaussian) == hashed(*gaussian, "blur_size=161")
    assert hashed(*gaussian) != hashed(*gaussian, "blur_size=21")
    assert hashed("metric=auc", scopes=("maps", "ceiling")) != hashed(scopes=("maps", "ceiling"))


@pytest.mark.parametrize(
    ("text", "schema", "says"),
    [
        ("models: [uniform]\ndatasets: [folder]\n", EXPERIMENT, "a configuration of benchmark"),
        ("clickme_data: a.csv\nblur_size: 3\n", BENCHMARK, "of prepare, ceiling and visualize"),
        ("task: classifier\ndata: {root: a}\n", EXPERIMENT, "clickmap train-classifier --config"),
    ],
)
def test_a_file_of_another_command_is_reported_as_one(tmp_path, text, schema, says) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_config(schema, path)


def test_a_misspelt_key_is_still_a_misspelt_key(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("clickme_data: a.csv\nblur_sise: 3\n")
    with pytest.raises(ConfigError, match=r"mine.yaml:2: unknown key 'blur_sise'"):
        load_config(EXPERIMENT, path)


def test_a_colon_without_a_blank_is_named(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("experiment_name:cats\nblur_size: 3\n")
    with pytest.raises(ConfigError, match="Line 1 needs a blank behind its colon"):
        load_config(EXPERIMENT, path)


@pytest.mark.parametrize("value", ["C:\\data\\x", "d:\\temp\\new", "C:/a\\new.csv", "C:\\"])
def test_a_windows_path_in_double_quotes_is_reported(tmp_path, value) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f'seed: 1\nclickme_data: "{value}"\n')
    with pytest.raises(ConfigError, match=r"c.yaml: line 2 holds a Windows path .* single quotes"):
        load_experiment(path)
    with pytest.raises(ConfigError, match="holds a Windows path in double quotes"):
        load_experiment(None, [f'clickme_data="{value}"'])


def test_windows_paths_that_mean_what_they_say_are_taken(tmp_path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "clickme_data: C:\\data\\new.csv\nimage_dir: 'C:\\temp'\n"
        'mask_dir: "C:\\\\new"  # not "C:\\new"\n# "C:\\new"\n'
    )
    config = load_experiment(path).config
    assert config.clickme_data == "C:\\data\\new.csv"
    assert config.image_dir == "C:\\temp"
    assert config.mask_dir == "C:\\new"


# --- config update ----------------------------------------------------------------------------

OLD = """# my experiment
experiment_name: old   # a comment
image_path: /images

max_clicks: 20
debug: False  # no line end"""


def test_missing_keys_are_appended_and_nothing_else_changes(tmp_path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(OLD)
    names = missing_keys(path)
    assert "image_dir" not in names
    assert set(names) == set(keys_of(ExperimentConfig)) - {
        "experiment_name",
        "image_dir",
        "max_clicks",
    }
    text = updated_text(path, names)
    assert text.startswith(OLD + "\n")
    values = yaml.safe_load(text)
    for name in names:
        assert values[name] == default_of(ExperimentConfig, name)
    path.write_text(text)
    assert missing_keys(path) == []
    assert load_experiment(path).config.max_clicks == 20


def test_only_the_wanted_keys(tmp_path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(OLD)
    wanted = ["gpu_batch_size", "correlation_batch_size", "max_clicks"]
    assert missing_keys(path, wanted) == ["gpu_batch_size", "correlation_batch_size"]
    with pytest.raises(ConfigError, match="Did you mean 'gpu_batch_size'"):
        missing_keys(path, ["gpu_batch_sise"])


def test_an_empty_file_gets_every_key(tmp_path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("")
    assert set(yaml.safe_load(updated_text(path, missing_keys(path)))) == set(
        keys_of(ExperimentConfig)
    )


@pytest.mark.parametrize("text", ["{experiment_name: x}", "- a", "a: [", "a: 1\n..."])
def test_layouts_that_cannot_grow_are_refused(tmp_path, text) -> None:
    path = Path(tmp_path / "odd.yaml")
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"odd\.yaml"):
        updated_text(path, missing_keys(path))
    assert path.read_text() == text
