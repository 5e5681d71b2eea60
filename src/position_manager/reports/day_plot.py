"""The plot of a day's profit. It loads matplotlib: never import it into the service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import matplotlib
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure

from position_manager.reports.day_book import Sample

matplotlib.use("Agg")


def draw(samples: Sequence[Sample], file: Path, zone: ZoneInfo) -> Path:
    """Draw the profit of each currency into a PNG file, over the time of a zone. Raises OSError."""
    figure = Figure(figsize=(8, 3.5), dpi=100, layout="constrained")
    axes = figure.subplots()
    for currency in sorted({currency for sample in samples for currency in sample.profit}):
        points = [(s.time.astimezone(zone), float(s.profit[currency])) for s in samples if currency in s.profit]
        axes.plot(*zip(*points, strict=True), label=currency, drawstyle="steps-post")
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set_title(f"Profit on {samples[-1].time.astimezone(zone):%A, %Y-%m-%d}, realised and at present prices")
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=zone))  # type: ignore[no-untyped-call]  # not typed there
    axes.set_xlabel(zone.key)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[1]:
        axes.legend()
    # Under another name first: whoever sends the picture must not find half of it.
    half = file.with_suffix(".part")
    figure.savefig(half, format="png")
    return half.replace(file)
