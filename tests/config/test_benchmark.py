"""Benchmarks as people write them: every notation, every mistake."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from clickmap_cli.app import app
from clickmap_cli.config import benchmark
from clickmap_cli.config.benchmark import (
    BENCHMARK_ALIASES,
    SALIENCY_METRICS,
    BenchmarkConfig,
    HeatmapPictures,
    model_specs,
)
from clickmap_cli.config.fields import default_of, keys_of
from clickmap_cli.config.loading import (
    BENCHMARK,
    EXPERIMENT,
    as_dict,
    load_any,
    load_config,
    missing_keys,
    numbers_hash,
    schema_of,
    updated_text,
)
from clickmap_cli.config.reading import settings_from_words
from clickmap_cli.metrics.saliency import SALIENCY_SCORES
from clickmap_cli.runtime.errors import ConfigError

SMALL = "datasets: [{name: folder, root: a}]\nmodels: [center_bias]\n"

# what a file of the field's benchmarks looks like
IN_THE_WILD = """\
experiment: saliency
output_dir: results/saliency
prediction_cache_dir: cache
cache_predictions: true
limit_images: null
predict_only: false
models:
  - name: center_bias
    device: cuda
    requires_size: [256, 256]
    weights_path: null
    repo_id: null
  - name: mine
    type: torchscript
    weights_path: mine.pt
  - uniform
active_models: [mine, center_bias]
model_kwargs:
  center_bias: {sigma_ratio: 0.3}
datasets:
  - {name: CAT2000, label: cat, root: data/CAT2000, split: train, sigma_px: 24}
  - {name: folder, root: photos}
heatmaps_png: {enabled: true, overlay: false, normalize: MINMAX, alpha: 0.4, out_dir: false}
"""


def write(tmp_path, text, name="benchmark.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def load(tmp_path, text, *words):
    return load_config(BENCHMARK, write(tmp_path, text), words)


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_metrics_of_the_schema_are_those_that_are_computed() -> None:
    assert tuple(SALIENCY_SCORES) == SALIENCY_METRICS
    assert set(SALIENCY_METRICS) >= benchmark.ON_REQUEST


def test_a_file_of_the_field(tmp_path) -> None:
    loaded = load(tmp_path, IN_THE_WILD)
    config = loaded.config
    assert loaded.notices == ()
    sets, models = config.datasets, model_specs(config)
    assert [(s.label, s.name) for s in sets] == [("cat", "CAT2000"), ("folder", "folder")]
    assert sets[0].settings == {"root": "data/CAT2000", "split": "train", "sigma_px": 24}
    assert [(m.label, m.name) for m in models] == [
        ("center_bias", "center_bias"),
        ("mine", "torchscript"),
    ]
    assert models[0].settings == {
        "device": "cuda", "requires_size": [256, 256], "weights_path": None, "repo_id": None,
        "sigma_ratio": 0.3,
    }  # fmt: skip
    assert config.heatmaps_png == HeatmapPictures(
        enabled=True, overlay=False, normalize="minmax", alpha=0.4, out_dir=None
    )
    assert loaded.sources["limit_images"] == "benchmark.yaml:5"
    assert loaded.sources["seed"] == "default"


def test_defaults_pass_their_own_checks_and_every_key_is_described() -> None:
    words = ["datasets=[{name: folder, root: a}]", "models=[uniform]"]
    loaded = load_config(BENCHMARK, None, words)
    for name, value in as_dict(loaded.config).items():
        if name in ("datasets", "models", "metrics", "plugins"):
            continue
        default = default_of(BenchmarkConfig, name)
        assert value == (vars(default) if name in ("heatmaps_png", "deep_dive") else default), name
    assert loaded.config.plugins == []
    assert set(BENCHMARK_ALIASES.values()) <= set(keys_of(BenchmarkConfig))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("uniform", [("uniform", "uniform", {})]),
        ("[uniform, center_bias]", [("uniform",) * 2 + ({},), ("center_bias",) * 2 + ({},)]),
        ("{name: a, type: uniform}", [("a", "uniform", {})]),
        ("[{name: a, type: uniform, x: 1}]", [("a", "uniform", {"x": 1})]),
        ("[{name: uniform, type: null}]", [("uniform", "uniform", {})]),
        ("{uniform: null, a: {type: b, x: 1}}", [("uniform",) * 2 + ({},), ("a", "b", {"x": 1})]),
        ("{a: {name: b, x: 1}}", [("a", "b", {"x": 1})]),
    ],
)
def test_models_in_every_notation(tmp_path, text, found) -> None:
    config = load(tmp_path, f"datasets: [{{name: folder}}]\nmodels: {text}\n").config
    assert [(s.label, s.name, dict(s.settings)) for s in model_specs(config)] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("folder", [("folder", "folder", {})]),
        ("{name: folder, root: a}", [("folder", "folder", {"root": "a"})]),
        ("[{name: folder, label: b, root: a}]", [("b", "folder", {"root": "a"})]),
        ("[{name: folder, label: null}, x]", [("folder",) * 2 + ({},), ("x",) * 2 + ({},)]),
        ("{folder: {root: a}}", [("folder", "folder", {"root": "a"})]),
        ("{osie: {name: folder, root: a}}", [("osie", "folder", {"root": "a"})]),
    ],
)
def test_data_sets_in_every_notation(tmp_path, text, found) -> None:
    config = load(tmp_path, f"datasets: {text}\nmodels: [uniform]\n").config
    assert [(s.label, s.name, dict(s.settings)) for s in config.datasets] == found


@pytest.mark.parametrize("active", ["b", "[b]", "[b, b]"])
def test_active_models_choose(tmp_path, active) -> None:
    text = "datasets: [folder]\nmodels: [a, b, c]\nactive_models: "
    assert [s.label for s in model_specs(load(tmp_path, text + active).config)] == ["b"]
    everything = load(tmp_path, text + "false").config
    assert [s.label for s in model_specs(everything)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("datasets: [a, a]", "Two data sets have the label 'a'"),
        ("datasets: [{name: a, label: X}, x]", "Two data sets have the label 'x'"),
        ("models: [a, {name: a, x: 1}]", "Two models have the name 'a'"),
        ("models: [Net, net]", "Two models have the name 'net'"),
        ("datasets: [{name: a, label: b/c}]", "label of a data set is 'b/c'; it names files"),
        ("datasets: [{name: a, label: ..}]", "is '..'"),
        ("datasets: [{name: a, label: 'b\\c'}]", "must hold no slashes"),
        ('datasets: [{name: a, label: "b\\n"}]', "must hold no slashes"),
        ("models: [a/b]", "the name of a model is 'a/b'"),
        ("models: [{name: '" + "x" * 101 + "'}]", "too long for a file name"),
        ("models: [{type: uniform}]", "the name of a model is None; it must be a word"),
        ("models: [{name: 3}]", "the name of a model is 3; it must be a word"),
        ("models: [{name: a, type: 3}]", "the type of a is 3; it must be a word"),
        ("datasets: [{root: a}]", "a data set's name is None"),
        ("datasets: [3]", "datasets: 3 is neither a name nor {name: ..., ...}"),
        ("datasets: null", "datasets is empty"),
        ("datasets: []", "datasets is empty"),
        ("models: []", "models is empty"),
        ("models: {uniform: 3}", "models: uniform is 3; it must hold 'key: value' pairs"),
        ("active_models: [center]", "no model 'center' in models. Did you mean 'center_bias'?"),
        ("active_models: []", "active_models is empty"),
        ("active_models: 3", "no model '3' in models"),
        ("model_kwargs: {centre_bias: {a: 1}}", "Did you mean 'center_bias'?"),
        ("model_kwargs: [a]", "model_kwargs is ['a']; it must be 'name: value' pairs"),
        ("model_kwargs: {center_bias: 3}", "'name: value' pairs whose values are mappings"),
        ("plugins: {a: b}", "plugins is {'a': 'b'}; it must be a word or a list of words"),
        ("plugins: ['']", "plugins is ['']"),
        (
            "metrics: AUK",
            "benchmark.yaml:1: metrics is 'AUK'; it must be one of all, AUC, AUC_Judd",
        ),
        ("metrics: AUK", "Did you mean 'AUC'?"),
        ("metrics: []", "metrics is empty"),
        ("metrics: {NSS: 1}", "metrics is {'NSS': 1}; it must be a word or a list of words"),
        ("limit_images: 0", "limit_images is 0; the least allowed is 1"),
        ("limit_images: some", "limit_images is 'some'; it must be a whole number or null"),
        ("n_jobs: 0", "n_jobs is 0"),
        ("seed: -1", "the least allowed is 0"),
        ("centerbias_bandwidth: 0", "the least allowed is 1e-06"),
        ("centerbias_bandwidth: .nan", "must be finite"),
        ("device: gpu", "device is 'gpu'"),
        (
            "predict_only: true\ncache_predictions: false",
            "heatmaps_png.enabled: true writes pictures",
        ),
        ("heatmaps_png: {alpah: 1}", "unknown key 'heatmaps_png.alpah'. Did you mean 'alpha'?"),
        ("heatmaps_png: {alpha: 1.5}", "heatmaps_png.alpha is 1.5; the most allowed is 1"),
        ("heatmaps_png: {alpha: wide}", "heatmaps_png.alpha is 'wide'; it must be a number"),
        ("heatmaps_png: {enabled: maybe}", "heatmaps_png.enabled is 'maybe'; it must be true or"),
        ("heatmaps_png: {normalize: maxx}", "heatmaps_png.normalize is 'maxx'; it must be one of"),
        ("heatmaps_png: true", "heatmaps_png is True; it must hold 'key: value' pairs"),
        ("blur_size: 3", "unknown key 'blur_size'"),
        ("output: x", "unknown key 'output'. Did you mean 'output_dir'?"),
        ("experiment: a\nexperiment_name: b", "old name of 'experiment', and both are set"),
    ],
)
def test_mistakes_are_named_before_work_starts(tmp_path, text, says) -> None:
    given = {line.split(":")[0] for line in text.split("\n")}
    rest = "".join(f"{line}\n" for line in SMALL.splitlines() if line.split(":")[0] not in given)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"{text}\n{rest}")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "datasets: [a__b, a]\nmodels: [c, b__c]",
        "datasets: [a]\nmodels: [c, c_summary]",
        "datasets: [a]\nmodels: [c, C_Summary]",
    ],
)
def test_no_two_tables_have_one_name(tmp_path, text) -> None:
    with pytest.raises(ConfigError, match=r"The tables of .* would both be a__.*\.csv; rename"):
        load(tmp_path, text)


def test_dotted_overrides_reach_one_place(tmp_path) -> None:
    config = load(
        tmp_path, IN_THE_WILD, "datasets.0.root=x", "datasets.1.sigma_px=3",
        "model_kwargs.center_bias.sigma_ratio=0.2", "model_kwargs.mine.output=density",
        "heatmaps_png.alpha=0.2", "models.2.name=blur_baseline", "active_models.1=blur_baseline",
    ).config  # fmt: skip
    sets, models = config.datasets, model_specs(config)
    assert sets[0].settings == {"root": "x", "split": "train", "sigma_px": 24}
    assert sets[1].settings == {"root": "photos", "sigma_px": 3}
    assert [m.label for m in models] == ["mine", "blur_baseline"]
    assert models[0].settings == {"weights_path": "mine.pt", "output": "density"}
    assert (config.heatmaps_png.alpha, config.heatmaps_png.overlay) == (0.2, False)


def test_dotted_overrides_without_a_file() -> None:
    words = ["datasets=[{name: folder}]", "models=[center_bias]"]
    more = [
        "datasets.0.root=x",
        "model_kwargs.center_bias.sigma_ratio=0.3",
        "heatmaps_png.alpha=0.2",
    ]
    loaded = load_config(BENCHMARK, None, [*words, *more])
    assert as_dict(loaded.config)["datasets"] == [
        {"name": "folder", "label": "folder", "root": "x"}
    ]
    assert loaded.config.model_kwargs == {"center_bias": {"sigma_ratio": 0.3}}
    assert loaded.config.heatmaps_png == HeatmapPictures(alpha=0.2)
    assert loaded.sources["heatmaps_png"] == "command line"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("datasets.1.root=x", "command line: no such place as datasets.1.root"),
        ("datasets.a.root=x", "no such place as datasets.a.root"),
        ("datasets..root=x", "no such place"),
        ("heatmaps_png.alpah=1", "Did you mean 'alpha'?"),
        ("heatmaps_png.alpha=2", "the most allowed is 1"),
        ("heatmaps_png.enabled.x=1", "heatmaps_png.enabled is {'x': 1}"),
        ("data_sets.0.root=x", "unknown key 'data_sets'. Did you mean 'datasets'?"),
        ("datasets[0].root=x", "Did you mean 'datasets'?"),
        ("n_jobs.x=3", "n_jobs is {'x': 3}; it must be a whole number"),
        ("model_kwargs.center.x=3", "no model 'center'"),
        ("heatmaps_png=3", "it must hold 'key: value' pairs"),
        ("datasets.0.root", "is not KEY=VALUE"),
        ("datasets.0.root=${nowhere}", "nowhere"),
    ],
)
def test_overrides_of_places_that_are_not_there(tmp_path, word, says) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, SMALL, word)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=400)
@given(st.text(alphabet="ad.=[]{}:,$-0 \"'", max_size=12))
@example("[=")
def test_no_override_is_worse_than_a_config_error(word) -> None:
    said = []
    for text in (word, f"datasets.{word}", f"datasets={word}", f"heatmaps_png.{word}"):
        try:
            load_config(BENCHMARK, None, ["models=[uniform]", "datasets=[a]", text])
        except ConfigError as error:
            said.append(str(error))
    assert "\n" not in "".join(said)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("all", [name for name in SALIENCY_METRICS if name not in ("EMD", "Spearman")]),
        (["all", "EMD", "spearman"], list(SALIENCY_METRICS)),
        (["emd", "all"], [name for name in SALIENCY_METRICS if name != "Spearman"]),
        ("nss", ["NSS"]),
        (["sim", "AUC-Judd", "auc_judd", "sauc", "Cc"], ["AUC_Judd", "sAUC", "CC", "SIM"]),
        ("cc_mask", ["CC_mask"]),
    ],
)
def test_metrics_in_any_spelling_come_in_the_order_of_columns(value, names) -> None:
    words = ["models=[uniform]", "datasets=[a]", f"metrics={value}".replace("'", "")]
    assert load_config(BENCHMARK, None, words).config.metrics == names


def test_empty_values_mean_none(tmp_path) -> None:
    names = ("limit_images", "prediction_cache_dir", "active_models", "model_kwargs", "plugins")
    for empty in ("false", "null", ""):
        text = "".join(f"{name}: {empty}\n" for name in names)
        config = load(tmp_path, SMALL + text + f"heatmaps_png: {empty}\n").config
        assert [getattr(config, name) or None for name in names] == [None] * len(names)
        assert config.heatmaps_png == HeatmapPictures()


def test_the_hash_moves_with_scores_only(tmp_path) -> None:
    def hashed(*words):
        return numbers_hash(load(tmp_path, SMALL, *words).config, ["scores"])

    base = hashed()
    for same in ("n_jobs=3", "output_dir=x", "device=cpu", "datasets.0.root=b", "report_images=1"):
        assert hashed(same) == base, same
    for other in ("seed=1", "metrics=NSS", "postprocess=false", "limit_images=3", "ceiling=false"):
        assert hashed(other) != base, other


def test_settings_from_words() -> None:
    found = settings_from_words(["name=folder", "root=a b", "sigma_px=2.5", "split=null", "ids="])
    assert found["name"] == "folder"
    assert (found["root"], found["sigma_px"], found["split"]) == ("a b", 2.5, None)
    for word in ("folder", "=x"):
        with pytest.raises(ConfigError, match="is not KEY=VALUE"):
            settings_from_words([word])
    pattern = "{participant}_{image}"
    assert settings_from_words([f'participants="{pattern}"']) == {"participants": pattern}
    with pytest.raises(ConfigError, match=r"""quote it twice: 'participants="\{part.*\}"'"""):
        settings_from_words([f"participants={pattern}"])


# --- config check, show, update ----------------------------------------------------------------


def test_the_kind_of_a_file_is_known_by_its_keys(tmp_path) -> None:
    small = write(tmp_path, SMALL)
    assert schema_of(small) is BENCHMARK
    assert schema_of(write(tmp_path, "models: [uniform]", "m.yaml")) is BENCHMARK
    assert schema_of(write(tmp_path, "blur_size: 3", "e.yaml")) is EXPERIMENT
    assert isinstance(load_any(small, ["seed=3"]).config, BenchmarkConfig)
    assert load_any(small, ["seed=3"]).config.seed == 3


def test_config_check_show_and_update_know_benchmarks(tmp_path) -> None:
    path = write(tmp_path, "# mine\n" + SMALL + "seed: 3  # why not\n")
    assert invoke("config", "check", path).stdout == f"{path}: ok\n"
    wrong = write(tmp_path, SMALL + "limit_images: 0\n", "wrong.yaml")
    result = invoke("config", "check", path, wrong)
    assert result.exit_code == 2
    assert "wrong.yaml:3: limit_images is 0" in result.stderr
    assert result.stdout == f"{path}: ok\n"

    shown = invoke("config", "show", "-c", path, "heatmaps_png.alpha=0.3")
    assert shown.exit_code == 0, shown.stderr
    again = load_config(BENCHMARK, write(tmp_path, shown.stdout, "shown.yaml"))
    wanted = load_config(BENCHMARK, path, ["heatmaps_png.alpha=0.3"])
    assert as_dict(again.config) == as_dict(wanted.config)
    stated = json.loads(invoke("config", "show", "-c", path, "--json").stdout)
    assert stated["config"]["heatmaps_png"]["colormap"] == "inferno"
    assert stated["sources"]["seed"] == "benchmark.yaml:4"

    before = path.read_text()
    result = invoke("config", "update", path)
    assert result.exit_code == 0, result.stderr
    after = path.read_text()
    assert after.startswith(before)
    assert set(yaml.safe_load(after)) == set(keys_of(BenchmarkConfig))
    loaded = load_config(BENCHMARK, path)
    assert loaded.config.seed == 3
    assert loaded.config.heatmaps_png == HeatmapPictures()
    assert missing_keys(path) == []
    assert updated_text(path, []) == after


def test_update_knows_old_names_of_a_benchmark(tmp_path) -> None:
    path = write(tmp_path, SMALL + "metric: NSS\nexperiment_name: x\n")
    assert not {"metrics", "experiment"} & set(missing_keys(path))
    with pytest.raises(ConfigError, match="Did you mean 'heatmaps_png'"):
        missing_keys(path, ["heatmaps"])


def test_a_model_without_more_settings_may_be_named_among_them() -> None:
    words = [
        "datasets=[{name: folder, root: a}]",
        "models=[uniform]",
        "model_kwargs={uniform: null}",
    ]
    assert model_specs(load_config(BENCHMARK, None, words).config)[0].settings == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: [unifrom]\ndatasets: [{name: folder, root: a}]\n", "uniform"),
        ("models: [uniform]\ndatasets: [{name: foldr, root: a}]\n", "folder"),
        (
            "models: [{name: center_bias, sigma_rato: 2}]\ndatasets: [{name: folder, root: a}]\n",
            "sigma_ratio",
        ),
        ("models: [uniform]\ndatasets: [{name: folder, rot: a}]\n", "root"),
        ("models: [uniform]\ndatasets: [{name: folder}]\n", "set root"),
    ],
)
def test_config_check_knows_names_and_settings(tmp_path, text, said) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(text)
    result = CliRunner().invoke(app, ["config", "check", str(path)])
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_pictures_can_be_all_that_is_kept_of_predictions(tmp_path) -> None:
    text = "predict_only: true\ncache_predictions: false\nheatmaps_png: {enabled: true}\n"
    given = ("predict_only", "cache_predictions", "heatmaps_png")
    rest = [line for line in SMALL.splitlines() if line.split(":")[0] not in given]
    config = load(tmp_path, text + "\n".join(rest))
    assert config.config.heatmaps_png.enabled
