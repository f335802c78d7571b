#!/usr/bin/env python3
"""Draws docs/PERFORMANCE.md: reads the page's tables, writes a chart of each to images/ beside it.

    bench/run pictures [PAGE]

The tables are those that the benchmarks print, known by their first two columns wherever they stand on the page; a chart whose
table is not there is skipped, unless the page shows it. The same tables give the same bytes. What cannot be read is one line on
stderr and status 1, and then no picture is written.
"""
import argparse
import itertools
import math
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, EDGE = 800, 20
TEXT, SMALL = 13, 12
GLYPH = .62  # em, a wide font's mean; text is kept apart by it
PITCH = {1: 22, 2: 15}  # pixels from bar to bar, by the bars of a row
STYLE = """text { font-family: system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif; fill: #1f2328; }
.back { fill: #ffffff; } .grid { stroke: #d8dee4; } .axis { stroke: #59636e; } .mark { stroke: #1f2328; }
.halo { stroke: #ffffff; stroke-width: 4; stroke-linejoin: round; paint-order: stroke; } .faint { fill: #59636e; }
.ours { fill: #0072b2; } .theirs { fill: #d55e00; } .other { fill: #8a939d; }
.part1 { fill: #56b4e9; } .part2 { fill: #e69f00; } .part3 { fill: #009e73; } .part4 { fill: #cc79a7; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.back { fill: #0d1117; } .grid { stroke: #2a3038; } .axis { stroke: #9198a1; } .mark { stroke: #f0f6fc; }
.halo { stroke: #0d1117; } .faint { fill: #9198a1; }
.ours { fill: #3d94d6; } .theirs { fill: #e8702a; } .other { fill: #7d8590; }
.part1 { fill: #a5d8f5; } .part2 { fill: #e69f00; } .part3 { fill: #1fb58c; } .part4 { fill: #d790b8; }
}"""


# The page

class Refused(Exception):
    pass


@dataclass
class Row:
    line: int
    cells: dict

    def __getitem__(self, column):
        return self.cells[column]

    def number(self, column, least=None):
        """`least` is for what can come out a hair below it; a bar has to be above 0 otherwise."""
        value = number(self[column])
        if value is None or (least is None and value <= 0):
            raise Refused(f'line {self.line}: "{self[column]}" in column "{column}" is not a number above 0')
        return value if least is None else max(value, least)

    def goal(self, column):
        return self.number(column) if self[column].strip("-–— ") else None


@dataclass
class Table:
    line: int
    caption: str
    head: list
    rows: list

    def having(self, *columns):
        """The rows, each known to have these columns."""
        for name in columns:
            if name not in self.head:
                raise Refused(f'line {self.line}: table "{" | ".join(self.head[:2])} | ..." has no column "{name}"')
        if not self.rows:
            raise Refused(f'line {self.line}: table "{" | ".join(self.head[:2])} | ..." has no rows')
        return self.rows


def number(text):
    found = re.fullmatch(r"[*≥≤ ]*([-+]?\d+(?:\.\d+)?)[*%×x ]*(?:MB|ms)?", text)
    return float(found[1]) if found else None


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def heads_of(line):
    """Column names; what comes again, as oneDNN does for the backward pass, is told apart."""
    names = []
    for name in cells_of(line):
        names.append(f"{name} (second)" if name in names else name)
    return names


def tables_of(lines):
    tables, caption, at = [], "", 0
    while at < len(lines):
        if lines[at].lstrip().startswith("|") and at + 1 < len(lines) and re.fullmatch(r"\s*\|[-:| ]+\|\s*", lines[at + 1]):
            table = Table(at + 1, caption, heads_of(lines[at]), [])
            at += 2
            while at < len(lines) and lines[at].lstrip().startswith("|"):
                cells = cells_of(lines[at])
                if len(cells) != len(table.head):
                    raise Refused(f"line {at + 1}: {len(cells)} cells in a table of {len(table.head)} columns")
                table.rows.append(Row(at + 1, dict(zip(table.head, cells))))
                at += 1
            tables.append(table)
            caption = ""
        else:
            caption = lines[at].strip() or caption
            at += 1
    return tables


def by(rows, column):
    groups = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return groups


# Charts

@dataclass
class Bar:
    parts: list  # (value, class), end to end
    note: str
    goal: float = None

    @property
    def length(self):
        return sum(value for value, _ in self.parts)


@dataclass
class Line:
    """A value to compare with, across some rows of bars."""
    value: float
    rows: range


@dataclass
class Panel:
    title: str
    unit: str
    bars: list  # (label, [Bar...]), a row each
    lines: list = field(default_factory=list)

    def marks(self, at):
        goals = [bar.goal for bar in self.bars[at][1] if bar.goal]
        return sorted(goals + [line.value for line in self.lines if at in line.rows])

    def end(self):
        return max(max([bar.length for bar in bars] + self.marks(at)) for at, (_, bars) in enumerate(self.bars))


@dataclass
class Chart:
    title: str
    subtitle: str
    legend: dict  # class: what it stands for; "mark" is the tick or line
    panels: list
    one_scale: bool = True


def gradient(tables):
    panels = []
    rows = [row for table in tables for row in table.having("network", "side", "ms an image", "ratio to the engine")]
    for network, sides in by(rows, "network").items():
        sides = [row for row in sides if not row["side"].startswith("*")]  # the best once more
        if not sides:
            raise Refused(f"line {rows[0].line}: nothing but a best of {network}")
        best = min((row.number("ms an image") for row in sides[1:]), default=None)
        bars = []
        for row in sides:
            ms = row.number("ms an image")
            role = "ours" if row is sides[0] else "theirs" if ms == best else "other"
            note = f"{row['ms an image']} ms" + ("" if role == "ours" else f", {row['ratio to the engine']}×")
            bars.append((row["side"], [Bar([(ms, role)], note)]))
        panels.append(Panel(network, "ms an image", bars))
    return Chart("Input gradient of an image", "Milliseconds, shorter is better; ×: how many times the engine's. Each network has its own scale.",
                 {"ours": "parchmill", "theirs": "PyTorch's best", "other": "its other modes"}, panels, one_scale=False)


def research(tables):
    panels = []
    ours, theirs = "parchmill, ms", "research way, ms"
    rows = [row for table in tables for row in table.having("network", "what", ours, theirs, "ratio", "goal")]
    for network, works in by(rows, "network").items():
        bars = [(row["what"], [Bar([(row.number("ratio"), "ours")], f"{row['ratio']}×, {row[ours]} ms against {row[theirs]} ms",
                                   row.goal("goal"))]) for row in works]
        panels.append(Panel(network, "times as fast as the research code's way", bars))
    return Chart("Against the research code's way", "How many times as fast, longer is better; milliseconds are of an image.",
                 {"ours": "parchmill", "mark": "goal"}, panels)


def layers(tables):
    panels = []
    for table in tables:
        bars, share = [], 0
        for row in table.having("convolution", "times", "backward", "oneDNN (second)", "ratio (second)", "of peak"):
            ours = row.number("backward")
            if row.number("of peak") > share:  # the greatest share tells the peak best
                share = row.number("of peak")
                peak = ours / share
            bars.append((row["convolution"],
                         [Bar([(ours, "ours")], f"{row['backward']}, {row['ratio (second)']}×"),
                          Bar([(row.number("oneDNN (second)"), "theirs")], row["oneDNN (second)"])]))
        title = re.split(r"[:,]", table.caption.lstrip("# "))[0]
        panels.append(Panel(title, "effective GF/s", bars, [Line(peak, range(len(bars)))]))
    return Chart("Convolutions, backward", "Effective GF/s, longer is better: two flops a product of the plain sum, which Winograd does with fewer.",
                 {"ours": "parchmill", "theirs": "oneDNN", "mark": "FMA peak"}, panels)


def memory(tables):
    panels = []
    stages = {"MB once loaded": "once loaded", "grad": "grad", "ig": "ig", "smoothgrad": "smoothgrad", "evaluation": "evaluation"}
    rows = [row for table in tables for row in table.having("network", "mask", *stages, "goal", "with evaluation")]
    masks = list(by(rows, "mask"))
    roles = dict(zip(masks, ("other", "ours", "theirs", "part3")))
    if len(roles) < len(masks):
        raise Refused(f"line {rows[0].line}: more than {len(roles)} masks")
    for network, runs in by(rows, "network").items():
        bars = [(label, [Bar([(row.number(stage), roles[row["mask"]])], f"{row[stage]} MB") for row in runs])
                for stage, label in stages.items()]
        goals = [(runs[0].goal("goal"), range(len(bars) - 1)), (runs[0].goal("with evaluation"), range(len(bars) - 1, len(bars)))]
        panels.append(Panel(network, "MB", bars, [Line(value, where) for value, where in goals if value]))
    return Chart("Peak memory", "Resident memory of one process, at its most after each stage; shorter is better.",
                 {**{role: f"mask {mask}" for mask, role in roles.items()}, "mark": "goal"}, panels)


def system(tables):
    spent = {"engine": "ours", "image": "part1", "read": "part2", "rest of compute thread": "part3", "all else": "part4"}
    names = dict(zip(spent.values(), ("engine", "decoding", "reading", "rest of compute thread", "all else")))
    processor, outside = "processor ms an image", "outside, each image"
    rates, costs = [], []
    for row in itertools.chain(*(table.having("run", "one, images/s", "two, images/s", "ratio", processor, *spent, outside)
                                 for table in tables)):
        rates.append((row["run"], [Bar([(row.number("one, images/s"), "other")], row["one, images/s"]),
                                   Bar([(row.number("two, images/s"), "ours")], f"{row['two, images/s']}, {row['ratio']}×")]))
        costs.append((row["run"], [Bar([(row.number(column, least=0), role) for column, role in spent.items()],
                                       f"{row[outside]} outside engine and decoding")]))
    first = Chart("The whole system", "parchmill run with one one-thread worker and with two; longer is better.",
                  {"other": "one worker", "ours": "two workers"}, [Panel("", "images a second", rates)])
    second = Chart("Where the processor time goes", "Two workers; loading the network is left out. % is of each further image.",
                   names, [Panel("", "ms of processor time an image", costs)])
    return first, second


CHARTS = [(("network", "side"), gradient, ["performance-gradient"]),
          (("network", "what"), research, ["performance-research"]),
          (("convolution", "times"), layers, ["performance-layers"]),
          (("network", "mask"), memory, ["performance-memory"]),
          (("run", "one, images/s"), system, ["performance-system", "performance-processor"])]


# Drawing

def wide(text, size):
    return len(text) * size * GLYPH


def plain(value):
    return f"{value:.1f}".removesuffix(".0")


def words(x, y, text, size=TEXT, role="", anchor="start", bold=False):
    weight = ' font-weight="600"' if bold else ""
    kind = f' class="{role}"' if role else ""
    return f'<text x="{plain(x)}" y="{plain(y)}" font-size="{size}"{kind} text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def stroke(x, top, bottom, role, width=1):
    return f'<path d="M{plain(x)} {plain(top)}V{plain(bottom)}" class="{role}" stroke-width="{width}"/>'


def rectangle(x, y, width, height, role):
    return f'<rect x="{plain(x)}" y="{plain(y)}" width="{width:.2f}" height="{plain(height)}" class="{role}"/>'


def tick_step(end):
    raw = end / 8
    power = 10 ** math.floor(math.log10(raw))
    return next(power * k for k in (1, 2, 5, 10) if power * k >= raw)


class Drawing:
    def __init__(self, chart):
        self.chart, self.out = chart, []
        self.left = EDGE + 10 + max(wide(label, SMALL) for panel in chart.panels for label, _ in panel.bars)
        longest = max(panel.end() for panel in chart.panels)
        self.ends = [longest if chart.one_scale else panel.end() for panel in chart.panels]
        self.width = min(self._room(panel, end) for panel, end in zip(chart.panels, self.ends))
        if self.width < 100:
            raise Refused(f'the labels of "{chart.title}" leave no room for its bars')

    def _room(self, panel, end):
        """The widest plot whose every note still fits behind its bar."""
        room = WIDTH - EDGE - self.left
        return min([room] + [(room - 10 - wide(bar.note, SMALL)) * end / max([bar.length] + panel.marks(at))
                             for at, (_, bars) in enumerate(panel.bars) for bar in bars])

    def svg(self):
        chart = self.chart
        self.out += [words(EDGE, 32, chart.title, 18, bold=True), words(EDGE, 54, chart.subtitle, SMALL, "faint")]
        y = self._legend(78) + 14
        for panel, end in zip(chart.panels, self.ends):
            y = self._panel(panel, end, y)
        height = math.ceil(y)
        return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
                          'role="img" aria-labelledby="title desc">',
                          f'<title id="title">{escape(chart.title)}</title>', f'<desc id="desc">{escape(self._told())}</desc>',
                          f"<style>\n{STYLE}\n</style>", f'<rect class="back" width="{WIDTH}" height="{height}" rx="6"/>',
                          *self.out, "</svg>\n"])

    def _told(self):
        """The picture in words."""
        legend, said = self.chart.legend, [self.chart.subtitle]
        for panel in self.chart.panels:
            shown = [f"{label}: " + "; ".join([f"{self._sides(bar)} {bar.note}" + (f", goal {plain(bar.goal)}" if bar.goal else "")
                                               for bar in bars]) for label, bars in panel.bars]
            shown += [f"{legend['mark']} {plain(line.value)} from {panel.bars[line.rows[0]][0]} to {panel.bars[line.rows[-1]][0]}"
                      for line in panel.lines]
            said.append(f"{panel.title or 'Bars'} ({panel.unit}). " + ". ".join(shown) + ".")
        return "\n".join(said)

    def _sides(self, bar):
        if len(bar.parts) == 1:
            return self.chart.legend[bar.parts[0][1]]
        return ", ".join(f"{self.chart.legend[role]} {plain(value)}" for value, role in bar.parts) + ";"

    def _legend(self, y):
        x = EDGE
        for role, name in self.chart.legend.items():
            self.out.append(stroke(x + 6, y - 11, y + 2, "mark", 3) if role == "mark" else rectangle(x, y - 10, 12, 12, role))
            self.out.append(words(x + 18, y, name, SMALL))
            x += 36 + wide(name, SMALL)
        return y

    def _panel(self, panel, end, y):
        at = lambda value: self.left + value / end * self.width
        if panel.title:
            y += 22
            self.out.append(words(EDGE, y, panel.title, 14, bold=True))
        top = y = y + 10
        pitch = max(PITCH.get(len(bars), 15) for _, bars in panel.bars)
        gap = 6 if pitch < PITCH[1] else 0
        rows = []
        for _, bars in panel.bars:
            rows.append((y + gap / 2, y + gap / 2 + pitch * len(bars)))
            y += pitch * len(bars) + gap
        self._axis(panel.unit, end, at, top, y)
        for (label, bars), (start, stop) in zip(panel.bars, rows):
            self.out.append(words(self.left - 10, (start + stop) / 2 + 4.5, label, SMALL, anchor="end"))
            for bar in bars:
                self._bar(bar, at, start, pitch)
                start += pitch
        for line in panel.lines:
            self.out.append(stroke(at(line.value), rows[line.rows[0]][0] - gap / 2, rows[line.rows[-1]][1] + gap / 2, "mark", 2))
        for index, ((_, bars), (start, _)) in enumerate(zip(panel.bars, rows)):
            for bar in bars:
                self._note(bar, panel.marks(index), at, start + pitch / 2)
                start += pitch
        return y + 48

    def _axis(self, unit, end, at, top, bottom):
        step = tick_step(end)
        for k in range(int(end / step * (1 + 1e-9)) + 1):
            self.out.append(stroke(at(k * step), top, bottom + (4 if k else 0), "grid" if k else "axis"))
            self.out.append(words(at(k * step), bottom + 17, f"{k * step:g}", SMALL, "faint", "middle"))
        self.out.append(words(at(end / 2), bottom + 34, unit, SMALL, "faint", "middle"))

    def _bar(self, bar, at, y, pitch):
        done = 0
        for value, role in bar.parts:
            self.out.append(rectangle(at(done), y + 2, at(done + value) - at(done), pitch - 4, role))
            done += value
        if bar.goal:
            self.out.append(stroke(at(bar.goal), y - 1, y + pitch + 1, "mark", 3))

    def _note(self, bar, marks, at, y):
        x = at(bar.length) + 6
        for mark in marks:
            if x - 6 <= at(mark) <= x + wide(bar.note, SMALL) + 3:
                x = at(mark) + 7
        self.out.append(words(x, y + 4.5, bar.note, SMALL, "halo"))


def draw(page):
    text = page.read_text(encoding="utf-8")
    tables, files = tables_of(text.splitlines()), {}
    for key, make, names in CHARTS:
        own = [table for table in tables if tuple(table.head[:2]) == key]
        if own:
            charts = make(own)
            files.update(zip(names, charts if isinstance(charts, tuple) else (charts,)))
        elif any(f"{name}.svg" in text for name in names):
            raise Refused(f'shows {names[0]}.svg, but has no table "{" | ".join(key)} | ..."')
        else:
            print(f'{names[0]}: skipped, no table "{" | ".join(key)} | ..."')
    if not files:
        raise Refused("no table of a benchmark")
    return {name: Drawing(chart).svg() for name, chart in files.items()}, text


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("page", nargs="?", type=Path, default=Path(__file__).resolve().parent.parent / "docs" / "PERFORMANCE.md")
    page = ap.parse_args().page
    try:
        files, text = draw(page)
        folder = page.parent / "images"
        folder.mkdir(exist_ok=True)
        for name, svg in files.items():
            (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
            print(f"{name}.svg" + ("" if f"images/{name}.svg" in text else ": the page does not show it"))
    except (Refused, OSError, UnicodeDecodeError) as why:
        sys.exit(f"pictures: {page.name}: {getattr(why, 'strerror', None) or why}")


if __name__ == "__main__":
    main()
