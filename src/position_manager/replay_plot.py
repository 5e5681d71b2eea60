"""The plot of a replayed tape. It loads matplotlib: never import it into the service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import matplotlib
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure

from position_manager.replay import Outcome

matplotlib.use("Agg")

_LEVELS = (("stop", "tab:red"), ("target", "tab:green"), ("trailing", "tab:orange"))


def draw(outcomes: Sequence[Outcome], file: Path, zone: ZoneInfo) -> None:
    """Draw each unit's price, entry, levels and exit into a PNG file. Raises OSError."""
    figure = Figure(figsize=(7, 3.6 * len(outcomes)), dpi=120, layout="constrained")
    for axes, outcome in zip(figure.subplots(len(outcomes), squeeze=False)[:, 0], outcomes, strict=True):
        times = [sample.time.astimezone(zone) for sample in outcome.samples]
        prices = [float(sample.price) for sample in outcome.samples]
        axes.plot(times, prices, color="black", drawstyle="steps-post", label="price")
        axes.axhline(float(outcome.unit.entry), color="grey", linestyle=":", label="entry")
        for name, color in _LEVELS:
            levels = [getattr(sample, name) for sample in outcome.samples]
            if any(level is not None for level in levels):
                shown = [float("nan") if level is None else float(level) for level in levels]
                axes.plot(times, shown, color=color, linestyle="--", drawstyle="steps-post", label=name)
        if outcome.closed is not None and times:
            label = f"{outcome.closed.rule.value} {outcome.exit}"
            axes.plot(times[-1], prices[-1], "o", color="tab:blue", markersize=9, label=label)
        profit = "" if outcome.profit is None else f": {outcome.profit:+,.2f}"
        axes.set_title(f"{outcome.unit.name}{profit}", fontsize=13)
        axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S", tz=zone))  # type: ignore[no-untyped-call]  # not typed there
        axes.tick_params(axis="x", labelrotation=20)
        axes.set_xlabel(zone.key)
        axes.set_ylabel(f"price to close, {outcome.unit.legs[0].instrument.currency}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file, format="png")
