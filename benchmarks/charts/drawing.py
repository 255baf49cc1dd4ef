"""Charts as SVG and PNG, light and dark. The same figures give the same bytes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator
from PIL import Image

from benchmarks.charts.specs import Bars, Chart, Lines, Panel, Ranges, Series
from benchmarks.page import words

# The browser's own font; every label is set with room, since its widths differ from those that matplotlib knows.
FONTS = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"
INCH = 96  # CSS pixels
ROW = 0.29
COLOURS = 64


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours by role: blue and orange can be told apart by everybody, the rest is grey."""

    name: str
    background: str
    text: str
    muted: str
    rule: str
    own: str
    kin: str
    peer: str
    rest: str

    def of(self, role: str) -> str:
        return {"own": self.own, "kin": self.kin, "peer": self.peer}.get(role, self.rest)

    def label(self, role: str) -> str:
        return self.own if role == "own" else self.text


THEMES = (
    Theme("light", "#ffffff", "#1f2328", "#59636e", "#d1d9e0", "#0969da", "#6cb0f5", "#bc4c00", "#9aa4ae"),
    Theme("dark", "#0d1117", "#f0f6fc", "#9198a1", "#30363d", "#4493f8", "#316dca", "#f0883e", "#6e7681"),
)


def write(chart: Chart, folder: Path) -> Iterator[Path]:
    """Both themes, both formats."""
    for theme in THEMES:
        with mpl.rc_context():
            mpl.rcParams["svg.fonttype"] = "none"  # text stays text
            mpl.rcParams["svg.hashsalt"] = "bullrush"
            mpl.rcParams["font.family"] = [
                "DejaVu Sans"
            ]  # comes with matplotlib, so widths are the same everywhere
            mpl.rcParams["hatch.linewidth"] = 0.6
            figure = _draw(chart, theme)
            path = folder / f"{chart.name}-{theme.name}"
            yield _write_svg(figure, path.with_suffix(".svg"), chart.alt)
            yield _write_png(figure, path.with_suffix(".png"))


def _write_svg(figure: Figure, path: Path, alt: str) -> Path:
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", facecolor=figure.get_facecolor(), metadata={"Date": None, "Title": alt}
    )
    text = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", FONTS, buffer.getvalue())
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")
    return path


def _write_png(figure: Figure, path: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=2 * INCH, facecolor=figure.get_facecolor())
    # A palette is a third of the bytes, and a chart has few colours.
    Image.open(buffer).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def _draw(chart: Chart, theme: Theme) -> Figure:
    height = _height(chart.body)
    figure = Figure(figsize=(chart.width / INCH, height), facecolor=theme.background)
    FigureCanvasAgg(figure)
    left = 16 / chart.width
    figure.text(left, 1 - 0.24 / height, chart.title, size=12.5, weight="bold", color=theme.text, va="center")
    figure.text(left, 1 - 0.5 / height, chart.note, size=8.5, color=theme.muted, va="center")
    figure.text(left, 0.16 / height, chart.where, size=7.5, color=theme.muted, va="center")
    if isinstance(chart.body, Bars):
        _draw_bars(figure, chart.body, theme, height)
    elif isinstance(chart.body, Ranges):
        _draw_ranges(figure, chart.body, theme, height)
    else:
        _draw_lines(figure, chart.body, theme, height)
    return figure


def _height(body: Bars | Lines | Ranges) -> float:
    """Inches. A chart of lines has room for the name of each."""
    if isinstance(body, Lines):
        return max(3.7, 1.5 + 0.2 * len(body.series))
    above = 0.72 if isinstance(body, Bars) and not _titled(body) else 0.95
    return above + ROW * len(body.labels) + (0.6 if isinstance(body, Ranges) else 0.42)


def _titled(bars: Bars) -> bool:
    return any(panel.title for panel in bars.panels)


def _panels(
    figure: Figure, count: int, theme: Theme, height: float, *, above: float, below: float
) -> list[Axes]:
    """Axes side by side, to the right of the contenders' names."""
    first, last, gap = 0.2, 0.985, 0.03
    width = (last - first - gap * (count - 1)) / count
    bottom, top = below / height, 1 - above / height
    axes = [figure.add_axes((first + i * (width + gap), bottom, width, top - bottom)) for i in range(count)]
    for axis in axes:
        axis.set_facecolor(theme.background)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0, colors=theme.muted, labelsize=7.5)
        axis.set_yticks([])
    return axes


def _names(axis: Axes, labels: Sequence[str], roles: Sequence[str], theme: Theme) -> None:
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.set_yticks(range(len(labels)), labels, size=9)
    for tick, role in zip(axis.get_yticklabels(), roles, strict=True):
        tick.set_color(theme.label(role))
        tick.set_fontweight("bold" if role == "own" else "normal")
        tick.set_fontstyle("italic" if role == "floor" else "normal")


def _draw_bars(figure: Figure, bars: Bars, theme: Theme, height: float) -> None:
    axes = _panels(figure, len(bars.panels), theme, height, above=0.95 if _titled(bars) else 0.72, below=0.42)
    for axis, panel in zip(axes, bars.panels, strict=True):
        axis.set_ylim(len(bars.labels) - 0.5, -0.5)
        axis.set_xticks([])
        axis.axvline(0, color=theme.rule, linewidth=1)
        axis.set_title(panel.title, size=8.5, color=theme.text, loc="left", pad=4)
        _bar_panel(axis, panel, bars.roles, theme)
    _names(axes[0], bars.labels, bars.roles, theme)


def _bar_panel(axis: Axes, panel: Panel, roles: Sequence[str], theme: Theme) -> None:
    finite = [value for value in panel.values if value is not None and math.isfinite(value)]
    longest = max(finite, default=1.0) or 1.0
    # What a text takes of the panel, at about 6.6 pixels a character, must be left free beside the longest bar.
    pixels = axis.get_position().width * axis.get_figure(root=True).get_figwidth() * INCH  # type: ignore[union-attr]
    room = 1 / (1 - min(0.6, (max(map(len, panel.texts)) * 6.6 + 8) / pixels))
    axis.set_xlim(0, longest * room)
    for place, (value, text, role) in enumerate(zip(panel.values, panel.texts, roles, strict=True)):
        drawn = value if value is not None and math.isfinite(value) else 0.0
        floor = role == "floor"
        axis.barh(
            place,
            drawn,
            height=0.66,
            color="none" if floor else theme.of(role),
            edgecolor=theme.rest if floor else "none",
            linewidth=0.8 if floor else 0,
            hatch="////" if floor else None,
        )
        axis.text(
            drawn + longest * room * 4 / pixels,
            place,
            text,
            va="center_baseline",
            size=8.5,
            color=theme.text if value is not None else theme.muted,
            weight="bold" if role == "own" and value is not None else "normal",
        )


def _draw_ranges(figure: Figure, ranges: Ranges, theme: Theme, height: float) -> None:
    axes = _panels(figure, len(ranges.panels), theme, height, above=0.95, below=0.6)
    everything = [v for _, values in ranges.panels for each in values if each for v in each]
    low, high = min(everything), max(everything)
    for axis, (title, values) in zip(axes, ranges.panels, strict=True):
        axis.set_xscale("log")
        # The figures are written behind each range, and take the space of about this many decades.
        axis.set_xlim(low / 1.3, high * (high / low) ** 0.72)
        axis.set_ylim(len(ranges.labels) - 0.5, -0.5)
        axis.set_title(title, size=8.5, color=theme.text, loc="left", pad=4)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,g} ms"))
        powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        axis.set_xticks([10.0**power for power in powers])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.grid(axis="x", color=theme.rule, linewidth=0.7)
        axis.set_axisbelow(True)
        for place, (each, role) in enumerate(zip(values, ranges.roles, strict=True)):
            _range(axis, place, each, theme, role)
    _names(axes[0], ranges.labels, ranges.roles, theme)


def _range(axis: Axes, place: int, values: Sequence[float] | None, theme: Theme, role: str) -> None:
    if values is None:
        axis.text(axis.get_xlim()[0] * 1.05, place, "–", va="center", size=8.5, color=theme.muted)
        return
    colour = theme.of(role)
    axis.plot([values[0], values[-1]], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
    for value, size in zip(values, (6.0, 4.6, 3.4), strict=False):
        axis.plot(value, place, "o", color=colour, markersize=size)
    axis.annotate(
        " · ".join(_two_digits(value) for value in values),
        (values[-1], place),
        (7, 0),
        textcoords="offset points",
        va="center_baseline",
        size=8,
        color=theme.text,
        weight="bold" if role == "own" else "normal",
    )


def _two_digits(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _draw_lines(figure: Figure, lines: Lines, theme: Theme, height: float) -> None:
    axis = figure.add_axes((0.075, 0.85 / height, 0.69, 1 - 1.8 / height))
    axis.set_facecolor(theme.background)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(theme.rule)
    axis.tick_params(length=0, colors=theme.muted, labelsize=8)
    axis.set_xscale("log")
    axis.set_yscale("log" if lines.log_y else "linear")
    axis.grid(axis="y", color=theme.rule, linewidth=0.7)
    axis.margins(y=0.1)
    for series in sorted(lines.series, key=lambda each: each.role in ("own", "peer")):
        _line(axis, series, theme)
    if not lines.log_y:
        axis.set_ylim(0, max(y for each in lines.series for _, y in each.points) * 1.08)
    axis.set_xticks([x for x, _ in lines.ticks], [text for _, text in lines.ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}" if y >= 10 else f"{y:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(axis="both", which="minor", length=0)
    axis.set_xlabel(lines.x_label, color=theme.muted, size=8.5)
    axis.set_title(lines.y_label, size=8.5, color=theme.muted, loc="left", pad=4)
    if lines.bound:
        value, text = lines.bound
        axis.axhline(value, color=theme.muted, linewidth=1, linestyle=(0, (2, 3)))
        axis.annotate(
            text,
            (lines.ticks[0][0], value),
            (0, 7),
            textcoords="offset points",
            size=8,
            color=theme.muted,
            bbox={"facecolor": theme.background, "edgecolor": "none", "pad": 1},
        )
    _label_ends(axis, lines, theme)


def _line(axis: Axes, series: Series, theme: Theme) -> None:
    xs, ys = zip(*series.points, strict=True)
    strong = series.role in ("own", "peer")
    axis.plot(
        xs,
        ys,
        color=theme.of(series.role),
        linewidth=2.6 if series.role == "own" else 2 if strong else 1.2,
        linestyle=(0, (4, 2)) if series.role == "floor" else "-",
        marker="o",
        markersize=5 if strong else 3.5,
        zorder=4 if series.role == "own" else 3 if strong else 2,
    )


def _label_ends(axis: Axes, lines: Lines, theme: Theme) -> None:
    """Names and last figures to the right of the lines, pushed apart where they would overlap."""
    low, high = axis.get_ylim()

    def place(value: float) -> float:
        if lines.log_y:
            return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
        return (value - low) / (high - low)

    ends = sorted(lines.series, key=lambda each: each.points[-1][1])
    heights = apart([place(each.points[-1][1]) for each in ends], 0.175 / _inches(axis))
    for series, y in zip(ends, heights, strict=True):
        axis.annotate(
            f"{series.label}  {words.rounded(series.points[-1][1])}",
            series.points[-1],
            (1.04, y),
            textcoords="axes fraction",
            va="center",
            size=8.5,
            color=theme.of(series.role) if series.role in ("own", "peer") else theme.text,
            weight="bold" if series.role == "own" else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": theme.rule,
                "linewidth": 0.8,
                "shrinkA": 1,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def _inches(axis: Axes) -> float:
    return axis.get_position().height * axis.get_figure(root=True).get_figheight()  # type: ignore[union-attr]


def apart(heights: Sequence[float], least: float) -> list[float]:
    """Heights in rising order, moved up and down so that neighbours are `least` apart and none is far from its place."""
    groups: list[tuple[float, int]] = []  # centre and size
    for height in heights:
        groups.append((height, 1))
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < least * (groups[-1][1] + groups[-2][1]) / 2:
            (above, many), (below, few) = groups.pop(), groups.pop()
            groups.append(((above * many + below * few) / (many + few), many + few))
    return [centre + (i - (size - 1) / 2) * least for centre, size in groups for i in range(size)]
