"""A fine-tuning's configuration as that of the benchmark that reads the same data."""

from __future__ import annotations

from clickmap_cli.config.benchmark import BenchmarkConfig
from clickmap_cli.config.saliency import SaliencyConfig


def as_benchmark(config: SaliencyConfig) -> BenchmarkConfig:
    """Return a benchmark configuration that reads the same data and gives the same scores."""
    return BenchmarkConfig(
        datasets=config.datasets, limit_images=config.limit_images, metrics=config.metrics,
        centerbias_bandwidth=config.centerbias_bandwidth, seed=config.seed, n_jobs=config.n_jobs,
        device=config.device, max_lost=config.max_lost, ceiling=False,
    )  # fmt: skip
