# SPDX-License-Identifier: Apache-2.0
"""A report as one HTML file that needs no other: tables, bars as SVG, the worst cases as pictures."""

import html
from collections.abc import Sequence

from ikol.evaluation.drawing import as_data_url, draw_case
from ikol.evaluation.evaluate import Evaluation
from ikol.evaluation.report import Report

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#222;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}
td,th{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}figure{display:inline-block;margin:0 .8rem 1rem 0;vertical-align:top}
figcaption{font-size:13px;max-width:24rem}.truth{color:#1a9a28}.solved{color:#d3261c}
text{font:12px system-ui,sans-serif}
"""
_ROW, _LEFT, _WIDTH, _VALUE = 18, 130, 420, 60  # pixels of a bar's row: height, name, longest bar, number


def to_html(evaluation: Evaluation, scored: tuple[str, ...], count: int = 10) -> str:
    """Return the report of an evaluation as HTML.

    Args:
        evaluation: the report, and its pictures.
        scored: names of the points that were scored.
        count: how many of the worst cases to show.
    """
    report = evaluation.report
    rows = [(f"{label} [{unit}]", solved, raw) for label, unit, solved, raw in report.rows()]
    parts = [
        f"<h1>{html.escape(report.dataset)}</h1>",
        f"<p>{report.pictures} pictures, {report.pictures_without_person} on which nobody was found. "
        "<i>Solved</i> is the posed body, <i>raw</i> the landmark network's own points in space.</p>",
        _table(("", "solved", "raw" if report.raw else ""), rows),
        "<h2>Is the uncertainty right?</h2>",
        "<p>How often the truth lies within 1 and 2 of the solver's standard deviations, along the camera's axes. "
        "A normal distribution has 68&nbsp;% and 95&nbsp;%.</p>",
        _table(("", "1 sigma [%]", "2 sigma [%]"), report.calibration_rows()),
        *_plots(report),
        "<h2>Worst cases</h2>",
        '<p><span class="truth">green: truth</span>, <span class="solved">red: solved</span>.</p>',
        *_cases(evaluation, scored, count),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(report.dataset)}</title><style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line(head, "th") + "".join(line(row, "td") for row in rows) + "</table>"


def _plots(report: Report) -> list[str]:
    shown = (
        ("Position of each point [mm]", report.joints.position_mm),
        ("Rotation of each joint [deg]", report.joints.geodesic_deg),
        ("Twist of each joint about its bone [deg]", report.joints.twist_deg),
    )
    return [f"<h2>{title}</h2>\n{_bars(values)}" for title, values in shown if values]


def _bars(values: dict[str, float]) -> str:
    """Return a bar for each value, the longest as wide as the plot."""
    largest = max(1e-9, *values.values())
    lines: list[str] = []
    for row, (name, value) in enumerate(values.items()):
        top, width = row * _ROW, _WIDTH * value / largest
        lines.append(
            f'<text x="{_LEFT - 6}" y="{top + 13}" text-anchor="end">{html.escape(name)}</text>'
            f'<rect x="{_LEFT}" y="{top + 3}" width="{width:.1f}" height="{_ROW - 6}" fill="#4a7fb5"/>'
            f'<text x="{_LEFT + width + 5:.1f}" y="{top + 13}">{value:.1f}</text>'
        )
    size = f'width="{_LEFT + _WIDTH + _VALUE}" height="{_ROW * len(values)}"'
    return f'<svg {size} role="img" aria-label="bar plot">{"".join(lines)}</svg>'


def _cases(evaluation: Evaluation, scored: tuple[str, ...], count: int) -> list[str]:
    ranked = sorted(evaluation.pictures, key=lambda pair: pair[1].solved.mpjpe_mm, reverse=True)
    figures: list[str] = []
    for sample, errors in ranked[:count]:
        picture = draw_case(sample, errors, scored)
        caption = (
            f"{html.escape(errors.name)}: MPJPE {errors.solved.mpjpe_mm:.0f} mm, "
            f"PA {errors.solved.pa_mpjpe_mm:.0f} mm, on the picture {errors.error_2d_percent:.1f} %"
        )
        figures.append(
            f'<figure><img src="{as_data_url(picture)}" width="{picture.width}" height="{picture.height}" '
            f'alt="{html.escape(errors.name)}"><figcaption>{caption}</figcaption></figure>'
        )
    return figures
