"""The plot of a replayed tape. It loads matplotlib: never import it into the service."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from operator import attrgetter
from pathlib import Path
from zoneinfo import ZoneInfo

import matplotlib
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure

from position_manager.replay.lines import line_of, stretches
from position_manager.replay.replay import Outcome

matplotlib.use("Agg")

_LEVELS = (("stop", "tab:red"), ("target", "tab:green"), ("trailing", "tab:orange"))


def draw(outcomes: Sequence[Outcome], file: Path, zone: ZoneInfo, max_age: timedelta) -> None:
    """Draw each unit's price, entry, levels and exit into a PNG file; lines break where no quote was younger than
    ``max_age``. Raises OSError."""
    figure = Figure(figsize=(7, 3.6 * len(outcomes)), dpi=120, layout="constrained")
    rows = figure.subplots(len(outcomes), squeeze=False, sharex=True)[:, 0]
    for axes, outcome in zip(rows, outcomes, strict=True):
        samples = outcome.samples
        axes.plot(*line_of(samples, max_age, lambda each: each.price), "k", drawstyle="steps-post", label="price")
        alone = [part[0] for part in stretches(samples, max_age) if len(part) == 1]
        axes.plot([each.time for each in alone], [float(each.price) for each in alone], "k.", markersize=4)
        axes.axhline(float(outcome.unit.entry), color="grey", linestyle=":", label="entry")
        for name, color in _LEVELS:
            level = attrgetter(name)
            if any(level(sample) is not None for sample in samples):
                line = line_of(samples, max_age, level)
                axes.plot(*line, color=color, linestyle="--", drawstyle="steps-post", label=name)
        if outcome.closed is not None and samples:
            label = f"{outcome.closed.rule.value} {outcome.exit}"
            last = samples[-1]
            axes.plot(last.time, float(last.price), "o", color="tab:blue", markersize=9, label=label)
        profit = "" if outcome.profit is None else f": {outcome.profit:+,.2f}"
        axes.set_title(f"{outcome.unit.name}{profit}", fontsize=13)
        axes.set_ylabel(f"price to close, {outcome.unit.legs[0].instrument.currency}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    # It may be a minute or many days.
    every = [sample.time for outcome in outcomes for sample in outcome.samples]
    seconds = ":%S" if every and max(every) - min(every) < timedelta(hours=1) else ""
    times = rows[-1].xaxis
    times.set_major_locator(AutoDateLocator(tz=zone, minticks=3, maxticks=7))  # type: ignore[no-untyped-call]
    times.set_major_formatter(DateFormatter(f"%H:%M{seconds}\n%d %b", tz=zone))  # type: ignore[no-untyped-call]
    rows[-1].set_xlabel(zone.key)
    figure.savefig(file, format="png")
