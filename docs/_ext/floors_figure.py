"""Draws docs/images/floors.svg, the picture in docs/architecture.md.

A band a floor, a box a member. Inside a band an arrow leads from a member to each that it imports
directly; of imports from lower floors a band has the number. To draw it anew:
``python docs/_ext/floors_figure.py``.
"""

from dataclasses import dataclass
from pathlib import Path

from floors import NAMES, depth, direct, floors, imports

FIGURE = Path(__file__).parents[1] / "images" / "floors.svg"

BOX, STEP, ROW, MARGIN = (118, 24), 142, 34, 12  # sizes in pixels
LABEL = 28  # the name of a band above its boxes
TINTS = ("#E8E8E8", "#DCEBF5", "#E3F2EC", "#FBE9DD")
INK, LINE = "#222222", "#0072B2"

HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" font-family="sans-serif" font-size="13" fill="{ink}">
<title>The floors of laplace_nn and their imports</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" \
markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="{line}"/></marker></defs>
<rect width="{width}" height="{height}" fill="#FFFFFF"/>
"""


@dataclass(frozen=True)
class Band:
    """A floor with its members' places: the box's left edge and its middle height, in the band."""

    name: str
    tint: str
    places: dict[str, tuple[int, int]]
    top: int

    @property
    def height(self) -> int:
        """Of the whole band."""
        return LABEL + max(y for _, y in self.places.values()) + BOX[1] // 2 + MARGIN


def places(members: list[str], edges: dict[str, set[str]]) -> dict[str, tuple[int, int]]:
    """Columns by depth, rows near the members that are imported; the unconnected beside them."""
    floor = set(members)
    connected = {unit for unit in members if edges[unit] & floor}.union(
        *(edges[unit] & floor for unit in members)
    )
    cells: dict[str, tuple[int, int]] = {}
    for column in range(1 + max(depth(unit, floor, edges) for unit in connected)):
        inside = [unit for unit in members if depth(unit, floor, edges) == column]
        inside = [unit for unit in inside if unit in connected]
        rows = {unit: [cells[t][1] for t in edges[unit] & set(cells)] for unit in inside}
        inside.sort(key=lambda unit: (sum(rows[unit]) / max(1, len(rows[unit])), unit))
        cells |= {unit: (column, row) for row, unit in enumerate(inside)}
    n_columns, n_rows = (1 + max(axis) for axis in zip(*cells.values(), strict=True))
    for index, unit in enumerate(unit for unit in members if unit not in connected):
        cells[unit] = (n_columns + index // n_rows, index % n_rows)
    return {
        unit: (MARGIN + column * STEP, row * ROW + BOX[1] // 2)
        for unit, (column, row) in cells.items()
    }


def bands(edges: dict[str, set[str]]) -> list[Band]:
    """All floors, the top one first."""
    found, top = [], MARGIN
    for name, tint, members in reversed(list(zip(NAMES, TINTS, floors(), strict=True))):
        found.append(Band(name, tint, places(members, direct(edges)), top))
        top += found[-1].height + MARGIN
    return found


def draw() -> str:
    """The picture as SVG text; the same sources give the same text."""
    edges = imports()
    drawn = bands(edges)
    columns = max(x for band in drawn for x, _ in band.places.values())
    width, height = columns + BOX[0] + MARGIN, drawn[-1].top + drawn[-1].height + MARGIN
    parts = [HEAD.format(width=width, height=height, ink=INK, line=LINE)]
    for band in drawn:
        parts += _band(band, width, direct(edges))
    parts += [_below(drawn, band, edges, width) for band in drawn]
    return "".join([*parts, "</svg>\n"])


def _band(band: Band, width: int, edges: dict[str, set[str]]) -> list[str]:
    """A band, its arrows and its boxes above them."""
    parts = [
        f'<rect x="4" y="{band.top}" width="{width - 8}" height="{band.height}" rx="6" '
        f'fill="{band.tint}"/>\n'
        f'<text x="{MARGIN}" y="{band.top + 18}" font-weight="bold">{band.name}</text>\n'
    ]
    for unit in band.places:
        for target in sorted(edges[unit] & set(band.places)):
            parts.append(_arrow(band, unit, target))
    for unit, (x, y) in band.places.items():
        parts.append(
            f'<rect x="{x}" y="{band.top + LABEL + y - BOX[1] // 2}" width="{BOX[0]}" '
            f'height="{BOX[1]}" rx="4" fill="#FFFFFF" stroke="#595959"/>\n'
            f'<text x="{x + BOX[0] // 2}" y="{band.top + LABEL + y + 4}" text-anchor="middle" '
            f'font-size="12">{unit}</text>\n'
        )
    return parts


def _arrow(band: Band, unit: str, target: str) -> str:
    """From the left edge of a box to the right edge of the one it imports, between the rows."""
    (x1, y1), (x2, y2) = band.places[unit], band.places[target]
    y1, y2, x2 = band.top + LABEL + y1, band.top + LABEL + y2, x2 + BOX[0]
    path = f"C{x1 - 20} {y1} {x2 + 24} {y2} {x2} {y2}"
    if x1 - x2 > STEP:  # past a column of boxes
        gap, turn = y2 + (ROW if y1 >= y2 else -ROW) // 2, x2 + STEP - BOX[0]
        path = f"C{x1 - 20} {y1} {x1 - 6} {gap} {x1 - 26} {gap}H{turn}C{turn - 20} {gap} "
        path += f"{x2 + 16} {y2} {x2} {y2}"
    return (
        f'<path d="M{x1} {y1}{path}" fill="none" stroke="{LINE}" stroke-width="1.2" '
        'marker-end="url(#tip)"/>\n'
    )


def _below(drawn: list[Band], band: Band, edges: dict[str, set[str]], width: int) -> str:
    """A broad arrow out of a band, with the number of its imports from every floor below."""
    counts = [
        f"{sum(len(edges[unit] & set(lower.places)) for unit in band.places)} from the "
        f"{lower.name.lower()}"
        for lower in drawn[drawn.index(band) + 1 :]
    ]
    if not counts:
        return ""
    x, y = width - 40, band.top + band.height
    return (
        f'<text x="{x - 22}" y="{y - 8}" text-anchor="end">imports {", ".join(counts)}</text>\n'
        f'<path d="M{x - 7} {y - 20}h14v18h9l-16 16l-16 -16h9z" fill="{LINE}"/>\n'
    )


def write() -> None:
    """Write the picture where it has changed."""
    text = draw()
    if not FIGURE.exists() or FIGURE.read_text(encoding="utf-8") != text:
        FIGURE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
