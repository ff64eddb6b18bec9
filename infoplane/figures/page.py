"""The page of runs: one HTML file that needs no network, with a plane that moves under a slider."""

from __future__ import annotations

import base64
import html
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import pandas as pd

from infoplane.analysis.plane import Plane, saturation_summary
from infoplane.errors import InfoplaneError
from infoplane.figures.interactive import curves_figure, hover_texts, looks_of, plane_figure, script, times
from infoplane.figures.parts.captions import spread
from infoplane.files import MARK, refuse_foreign, write_csv, write_text
from infoplane.words import symbol

READING = (
    "A layer goes to the right as it tells the samples of the probe apart better, and upwards as its "
    "neighbourhoods agree better with the target. Hollow points carry no information: they are saturated or no "
    "better than their null. Raw values hold what permuted samples give too; compare by what is above it."
)
CAVEATS = (
    "Values belong to this estimator, its bandwidth and this probe; those of other probe sizes cannot be compared.",
    "A fall of I(X;T) is compression in this sense only, and a rise of I(T;Y) with depth no gain of information.",
    "One run is one run: record several seeds before a sentence about networks.",
)


@dataclass(frozen=True)
class Panel:
    """A set of runs on the page: one run, or repetitions of a training as their mean.

    Attributes:
        name: What it is called, such as "sgd".
        plane: Its plane.
        settings: How it was trained and estimated, in words by their names.
        verdicts: Its verdicts, with `claim`, `outcome` and `reasons` as in the JSON of a report.
        tables: Files that hold its numbers.
    """

    name: str
    plane: Plane
    settings: Mapping[str, str]
    verdicts: Sequence[Mapping[str, Any]] = ()
    tables: Sequence[Path] = ()


def page_path(path: Path, force: bool = False) -> Path:
    """Where a page goes; to be asked before anything is computed.

    Args:
        path: The file.
        force: Overwrite a file that infoplane did not make, too.

    Raises:
        InfoplaneError: It is not of infoplane (and not `force`).
    """
    refuse_foreign(path, force=force)
    return path


def save_page(panels: Sequence[Panel], path: Path, force: bool = False) -> Path:
    """Writes a page, as a whole.

    Args:
        panels: Sets of runs, which stand side by side on the same axes.
        path: The file; its folder is made if needed.
        force: Overwrite a file that infoplane did not make, too.

    Raises:
        InfoplaneError: There is nothing to show, the planes hold different quantities, or the file is not of
            infoplane (and not `force`) or cannot be written.
    """
    write_text(page_path(path, force), page(panels, path.resolve().parent))
    return path


def page(panels: Sequence[Panel], folder: Path) -> str:
    """The page as HTML.

    Args:
        panels: Sets of runs, which stand side by side on the same axes.
        folder: Where it will stand; links to tables lead from there.

    Raises:
        InfoplaneError: There is nothing to show, or the planes hold different quantities.
    """
    _refuse(panels)
    title = " · ".join(_titles(panels))
    parts = {
        "mark": MARK,
        "title": html.escape(title),
        "about": "<br>".join(map(html.escape, _once({panel.name: _about(panel) for panel in panels}))),
        "style": _asset("page.css"),
        "script": _asset("page.js"),
        "plotly": script(),
        "planes": _places(panels, "plane"),
        "curves": _places(panels, "curves"),
        "reading": html.escape(READING),
        "spread": html.escape(" ".join(_once({p.name: spread(p.plane.table, "bands and bars") for p in panels}))),
        "sections": "\n".join(_sections(panels, folder)),
        "content": _content(panels),
    }
    return Template(_asset("page.html")).substitute(parts)


def _content(panels: Sequence[Panel]) -> str:
    """Figures and numbers as JSON that cannot end the script it stands in."""
    planes = [panel.plane for panel in panels]
    looks = looks_of(planes)
    figures = [
        {"id": f"{kind}-{place}", "kind": kind, "set": place, **draw(planes, place, looks)}
        for kind, draw in (("plane", plane_figure), ("curves", curves_figure))
        for place in range(len(panels))
    ]
    content = {
        "times": times(planes),
        "layers": {name: {"colour": look.colour} for name, look in looks.items()},
        "sets": [hover_texts(plane) for plane in planes],
        "figures": figures,
    }
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c")


def _places(panels: Sequence[Panel], kind: str) -> str:
    """Where the script draws one figure of each set."""
    several = len(panels) > 1
    return "".join(
        f"<section>{_heading(panel.name, several)}<div id='{kind}-{place}'></div></section>"
        for place, panel in enumerate(panels)
    )


def _sections(panels: Sequence[Panel], folder: Path) -> Iterable[str]:
    """What stands below the figures."""
    parts = {
        "The last snapshot": _last,
        "Verdicts": _verdicts,
        "Tables": lambda panel: _tables(panel, folder),
    }
    for heading, make in parts.items():
        several = len(panels) > 1
        yield f"<h2>{heading}</h2><div class='grid'>"
        yield from (f"<section>{_heading(panel.name, several)}{make(panel)}</section>" for panel in panels)
        yield "</div>"
    yield f"<h2>Settings</h2>{_settings(panels)}"
    yield f"<h2>What this does not say</h2>{_list(CAVEATS)}"


def _last(panel: Panel) -> str:
    """The numbers of each layer at the end, and which cannot be read."""
    table = panel.plane.final.rename(columns=lambda name: symbol(name, panel.plane.table)).rename_axis(None)
    shown = table.to_html(float_format="{:.3f}".format, border=0, na_rep="–")
    hollow = saturation_summary(panel.plane.table)
    return f"<div class='scroll'>{shown}</div>" + (f"<p class='note'>Hollow:</p>{_list(hollow)}" if hollow else "")


def _verdicts(panel: Panel) -> str:
    """The verdicts with their reasons."""
    if not panel.verdicts:
        return "<p class='note'>Not judged. <code>infoplane analyze</code> takes five seeds and six layers.</p>"
    lines = []
    for verdict in panel.verdicts:
        claim, outcome = html.escape(_capital(verdict["claim"])), html.escape(verdict["outcome"])
        lines.append(f"<p>{claim}: <span class='outcome'>{outcome}</span></p>{_list(verdict['reasons'])}")
    return "".join(lines)


def _settings(panels: Sequence[Panel]) -> str:
    """How the runs were trained and estimated, a column a set."""
    columns = {panel.name: panel.settings for panel in panels}
    table = pd.DataFrame(columns).fillna("").rename(index=lambda name: name.replace("_", " "))
    shown = table[(table != "").any(axis=1)].to_html(header=len(panels) > 1, border=0)
    return f"<div class='scroll'>{shown}</div>"


def _tables(panel: Panel, folder: Path) -> str:
    """Links to the numbers: what the page shows, in itself, and the files that it was made of."""
    text = io.StringIO()
    write_csv(panel.plane.with_metrics, text)
    data = base64.b64encode(text.getvalue().encode()).decode()
    name = html.escape(f"{panel.name or 'plane'}.csv", quote=True)
    links = [f"<a download='{name}' href='data:text/csv;base64,{data}'>all that is drawn here (CSV)</a>"]
    for path in panel.tables:
        there = Path(os.path.relpath(path.resolve(), folder)).as_posix()
        links.append(f"<a href='{html.escape(quote(there), quote=True)}'>{html.escape(there)}</a>")
    return "<ul>" + "".join(f"<li>{link}</li>" for link in links) + "</ul>"


def _about(panel: Panel) -> str:
    """What the set is, in a line."""
    row, runs = panel.plane.table.iloc[0], int(panel.plane.table["runs"].max())
    count = f"mean of {runs} runs" if runs > 1 else "one run"
    return f"{row['model']} on {row['dataset']}, {count}, n = {row['n']}; {panel.plane.settings}"


def _once(texts: Mapping[str, str]) -> list[str]:
    """What is said of each set, once where it is the same of all."""
    different = {*texts.values()}
    return [*different] if len(different) == 1 else [f"{name}: {text}" for name, text in texts.items()]


def _titles(panels: Sequence[Panel]) -> list[str]:
    """The names of the sets, or of network and data of a single one."""
    row = panels[0].plane.table.iloc[0]
    return [panel.name for panel in panels] if len(panels) > 1 else [f"{row['model']} on {row['dataset']}"]


def _refuse(panels: Sequence[Panel]) -> None:
    """Axes cannot be shared by different quantities."""
    if not panels:
        raise InfoplaneError("nothing to show: name runs")
    kinds = {str(panel.plane.table["unit"].iloc[0]) for panel in panels if "unit" in panel.plane.table}
    sizes = {int(panel.plane.table["n"].iloc[0]) for panel in panels}
    if len(kinds) > 1 or len(sizes) > 1:
        what = f"probes of {' and '.join(map(str, sorted(sizes)))} samples" if len(sizes) > 1 else "different units"
        raise InfoplaneError(f"the runs have {what}, which no common axes can show; make a page of each")
    if all(panel.plane.table[["I_XT", "I_TY"]].isna().any(axis=1).all() for panel in panels):
        raise InfoplaneError("nothing to show: no layer was measured")


def _heading(name: str, shown: bool) -> str:
    return f"<h3>{html.escape(name)}</h3>" if shown else ""


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _asset(name: str) -> str:
    """A file of the page that belongs to the package."""
    return files("infoplane.figures").joinpath("assets", name).read_text(encoding="utf-8")
