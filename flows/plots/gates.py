"""The plots of the two gates, for the report and for the model card."""

from __future__ import annotations

from tasks.values import DataReport, ReportedComparison


def gate_plots(comparison: ReportedComparison | None, data: DataReport | None) -> dict[str, bytes]:
    """PNG files by name; only those that have something to show."""
    plots = {}
    if data is not None and data.drift:
        from flows.plots.drift import plot_drift

        plots["drift.png"] = plot_drift(data)
    if comparison is not None:
        from flows.plots.predictions import plot_predictions
        from flows.plots.significance import comparable, plot_improvements

        if comparable(comparison.table):
            plots["improvement.png"] = plot_improvements(comparison.table)
        if comparison.prediction_bins:
            plots["predictions.png"] = plot_predictions(comparison.prediction_bins)
    return plots
