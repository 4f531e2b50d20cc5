"""Imports all that commands import, so that processes forked after it start at once."""

from __future__ import annotations

import io

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import pandas as pd  # noqa: F401
import scipy.ndimage
import scipy.stats  # noqa: F401
import timm  # noqa: F401

import clickmap_cli.app
import clickmap_cli.reports.benchmark
import clickmap_cli.reports.benchmark_figures
import clickmap_cli.reports.benchmark_html
import clickmap_cli.reports.ceiling
import clickmap_cli.reports.finetune
import clickmap_cli.reports.prepare
import clickmap_cli.reports.verify
import clickmap_cli.services.benchmark.run
import clickmap_cli.services.ceiling.run
import clickmap_cli.services.finetune.run
import clickmap_cli.services.prepare.run
import clickmap_cli.services.verify  # noqa: F401
from clickmap_cli.datasets.base import DATASETS
from clickmap_cli.models.base import MODELS
from tests.faults import changed  # noqa: F401

for _name in ("fixations_csv",):
    DATASETS.get(_name)
for _name in ("readout", "blur_baseline", "center_bias"):
    MODELS.get(_name)
_figure = plt.figure()
_figure.subplots().set_title("1")
_figure.savefig(io.BytesIO(), format="png")  # finds the fonts
plt.close("all")
