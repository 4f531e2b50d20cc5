"""Figures of `visualize`: images with their maps, and distributions."""

from __future__ import annotations

from clickmap_cli.services.visualize.drawing import VisualizeFigures


def all_figures() -> VisualizeFigures:
    """Return the functions that draw all figures."""
    from clickmap_cli.reports.figures import clicks, images, morph, numbers

    return VisualizeFigures(
        overlay=images.draw_overlay,
        participants=images.draw_participants,
        clicks=clicks.draw_clicks,
        bins=images.draw_bins,
        morph=morph.draw_morph,
        sheet=images.draw_sheet,
        distributions={
            "trials_per_participant": numbers.draw_trials_per_participant,
            "clicks_per_trial": numbers.draw_clicks_per_trial,
            "participants_per_image": numbers.draw_participants_per_image,
            "categories": numbers.draw_categories,
            "agreement_by_category": numbers.draw_agreement,
            "funnel": numbers.draw_funnel,
        },
    )
