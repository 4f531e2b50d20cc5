"""Figures of `visualize`: images with their maps, and distributions."""

from __future__ import annotations

from functools import partial

from clickmap_cli.services.visualize.figures import Figures


def all_figures() -> Figures:
    """Return the functions that draw all figures."""
    from clickmap_cli.reports.figures import images, numbers

    return {
        "overlay": images.draw_overlay,
        "participants": images.draw_participants,
        "clicks": images.draw_clicks,
        "bins": images.draw_bins,
        "sheet": images.draw_sheet,
        **{
            f"distributions/{name}": partial(numbers.draw_spread, name)
            for name in ("trials_per_participant", "clicks_per_trial", "participants_per_image")
        },
        "distributions/categories": numbers.draw_categories,
        "distributions/agreement_by_category": numbers.draw_agreement,
        "distributions/funnel": numbers.draw_funnel,
    }
