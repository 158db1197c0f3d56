"""How the training went, from the events that it wrote for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bokeh.plotting import figure

_CURVES = {
    "train/loss": ("training: loss", "#0072b2"),
    "val/ln_likelihood": ("held-out stars: mean ln p", "#d55e00"),
    "train/members": ("expected members among the training stars", "#009e73"),
}
_NONE = {"images": 1, "histograms": 1, "tensors": 1, "compressedHistograms": 1}  # kept of what is not looked at

Curve = tuple[list[float], list[float]]


def losses(folder: Path) -> dict[str, Curve]:
    """Epochs and values of each curve of a training, by its tag; none where no events were written."""
    if not any(folder.glob("events.out.tfevents.*")):
        return {}
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415 (takes a while)
        EventAccumulator,
    )

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, **_NONE})
    events.Reload()
    found = {tag: events.Scalars(tag) for tag in _CURVES if tag in events.Tags()["scalars"]}
    return {tag: ([float(i) for i in range(1, len(s) + 1)], [one.value for one in s]) for tag, s in found.items()}


def plots(curves: dict[str, Curve]) -> list[Any]:
    """A figure of Bokeh for each curve."""
    return [_plot(*_CURVES[tag], *curve) for tag, curve in curves.items()]


def _plot(title: str, colour: str, epochs: list[float], values: list[float]) -> Any:
    plot = figure(height=220, sizing_mode="stretch_width", tools="pan,box_zoom,wheel_zoom,reset,save", title=title)
    plot.toolbar.logo = None
    plot.xaxis.axis_label = "epoch"
    plot.line(epochs, values, color=colour, line_width=1.5)
    return plot
