"""Line plots as SVG, on logarithmic axes, readable on light and dark pages."""

import html
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 76, 24, 70, 56
STYLE = """<style>
.paper{fill:#fff} text{font:13px sans-serif;fill:#1f2328} .title{font-size:16px;font-weight:600}
.grid{stroke:#d0d7de;stroke-width:1}
.s0{stroke:#0969da;fill:#0969da} .s1{stroke:#bc4c00;fill:#bc4c00}
.s2{stroke:#1a7f37;fill:#1a7f37} .line{stroke-width:2} .range{stroke-width:1.2}
@media (prefers-color-scheme:dark){.paper{fill:#0d1117} text{fill:#e6edf3} .grid{stroke:#30363d}
.s0{stroke:#58a6ff;fill:#58a6ff} .s1{stroke:#f0883e;fill:#f0883e} .s2{stroke:#56d364;fill:#56d364}}
</style>"""


def short(v):
    """1500000 as 1.5 M, 4096 as it is."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if v >= size and v * 10 % size == 0:
            return f"{v / size:g}{unit}"
    return f"{v:g}"


def axis(values):
    """Bounds around these values, a factor of ten or more, so that a small change looks small; and
    where its lines are: at 1, 2 and 5 of each power of ten."""
    steps = [m * 10.0 ** e for e in range(-4, 13) for m in (1, 2, 5)]
    low = max(i for i, s in enumerate(steps) if s <= min(values) * 1.001)
    high = min(i for i, s in enumerate(steps) if s >= max(values) * 0.999)
    while steps[high] < steps[low] * 9.99:
        low, high = (low - 1, high) if (high - low) % 2 else (low, high + 1)
    low, high = steps[low], steps[high]
    lines = [s for s in steps if low <= s <= high]
    if len(lines) > 9:
        lines = [s for s in lines if abs(math.log10(s) - round(math.log10(s))) < 1e-9]
    return low, high, lines


class Scale:
    """Lines at every value where there are few, as of powers of two."""

    def __init__(self, values, begin, end, at_each=False):
        self.low, self.high, self.lines = axis(values)
        if at_each and len(set(values)) <= 11:
            self.low, self.high, self.lines = min(values), max(values), sorted(set(values))
        self.begin, self.end = begin, end

    def __call__(self, v):
        share = math.log(v / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)


def text(x, y, said, anchor="middle", more=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"\n{more}>'
            f"{html.escape(said)}</text>")


def frame(x, y, title, x_label, y_label):
    out = [f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
           text(LEFT, 24, title, "start", ' class="title"'),
           text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_label),
           text(0, 0, y_label, more=f' transform="translate(18,{(TOP + HEIGHT - BOTTOM) / 2:.0f})'
                                    ' rotate(-90)"')]
    for v in x.lines:
        out.append(f'<path class="grid" d="M{x(v):.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        out.append(text(x(v), HEIGHT - BOTTOM + 18, short(v)))
    for v in y.lines:
        out.append(f'<path class="grid" d="M{LEFT} {y(v):.1f}H{WIDTH - RIGHT}"/>')
        out.append(text(LEFT - 8, y(v) + 4, short(v), "end"))
    return out


def mark(i, x, y):
    """A circle, a square or a diamond: not by colour alone."""
    if i == 0:
        return f'<circle class="s0" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if i == 2 else ""
    return (f'<rect class="s{i}" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"{turn}/>')


def plot(path, title, x_label, y_label, series):
    """series: {name: [(x, middle, least, greatest), ...]}, of up to three names; all above 0."""
    points = [p for s in series.values() for p in s]
    x = Scale([p[0] for p in points], LEFT, WIDTH - RIGHT, True)
    y = Scale([v for p in points for v in p[1:]], HEIGHT - BOTTOM, TOP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
           f"<title>{html.escape(title)}</title>", STYLE, *frame(x, y, title, x_label, y_label)]
    at = LEFT + 5
    for i, (name, s) in enumerate(series.items()):
        out += [mark(i, at, 46), text(at + 10, 50, name, "start")]
        at += 40 + 7 * len(name)
        way = "\nL".join(f"{x(v[0]):.1f} {y(v[1]):.1f}" for v in s)
        out.append(f'<path class="line s{i}" style="fill:none" d="M{way}"/>')
        for v, middle, least, greatest in s:
            out.append(f'<path class="range s{i}" d="M{x(v):.1f} {y(least):.1f}V{y(greatest):.1f}"'
                       "/>")
            out.append(mark(i, x(v), y(middle)))
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join([*out, "</svg>", ""]))
