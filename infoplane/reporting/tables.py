"""Tables for people and papers: CSV with all digits, Markdown and LaTeX (booktabs) with those that matter."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from infoplane.files import MARK, refuse_foreign, whole, write_csv

ENDINGS = (".csv", ".md", ".tex")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "^": r"\^{}",
    "~": r"\~{}",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "±": r"$\pm$",
    "−": "$-$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
    "√": r"$\surd$",
    "≥": r"$\geq$",
    "×": r"$\times$",
    "→": r"$\to$",
    "|": r"\textbar{}",
    "<": "$<$",
    ">": "$>$",
    "δ": r"$\delta$",
    "λ": r"$\lambda$",
    "Σ": r"$\Sigma$",
    "≤": r"$\leq$",
    "…": r"\dots{}",
    **{letter: f"$^{number}$" for number, letter in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{letter: f"$_{number}$" for number, letter in enumerate("₀₁₂₃₄₅₆₇₈₉")},
}
# More columns than these, beside the first, are too many for a page.
WIDEST = 11
# Cells with more letters are broken into lines.
_LONGEST = 32

_NUMBER = r"–?|(< )?[−+-]?[\d,.]+( .*)?"


def _table_paths(stem: Path, force: bool) -> list[Path]:
    """Where a table goes: `STEM.csv`, `STEM.md` and `STEM.tex`.

    Args:
        stem: Path without ending.
        force: Overwrite files that infoplane did not make, too.

    Raises:
        InfoplaneError: One of them exists and is not of infoplane (and not `force`).
    """
    paths = [stem.with_name(stem.name + ending) for ending in ENDINGS]
    refuse_foreign(*paths, force=force)
    return paths


def save_table(
    numbers: pd.DataFrame, shown: pd.DataFrame, stem: Path, caption: str, note: str = "", *, force: bool = False
) -> list[Path]:
    """Writes a table three ways, all files or none.

    Args:
        numbers: What goes into the CSV.
        shown: The same for people: strings, columns with their units.
        stem: Path without ending; `.csv`, `.md` and `.tex` are added.
        caption: One sentence.
        note: Below the table: settings, n, the command that makes it.
        force: Overwrite files that infoplane did not make, too.

    Returns:
        The files.

    Raises:
        InfoplaneError: A file is there that infoplane did not make (and not `force`), or they cannot be written.
    """
    paths = _table_paths(stem, force)
    text = f"{caption}\n\n{markdown(shown)}\n" + (f"\n{note}\n" if note else "") + f"\n<!-- {MARK} -->\n"
    with whole(*paths) as (csv, md, tex):
        write_csv(numbers, csv)
        md.write_text(text, encoding="utf-8")
        tex.write_text(f"% {MARK}\n{latex(shown, caption, note, stem.name)}", encoding="utf-8")
    return paths


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown; numbers should be strings by now. A wide one comes in pieces, see `pieces`."""
    return "\n\n".join(map(_markdown, pieces(table)))


def _markdown(table: pd.DataFrame) -> str:
    lines = [_row(table.columns), _row("---" for _ in table.columns)]
    return "\n".join([*lines, *(_row(row) for row in table.itertuples(index=False))])


def pieces(table: pd.DataFrame, most: int = WIDEST) -> list[pd.DataFrame]:
    """A table in pieces that can be read, one below the other, each with the first column.

    Args:
        table: The table.
        most: The most columns of a piece, beside the first.
    """
    others = table.shape[1] - 1
    count = max(1, -(-others // most))
    ends = [1 + others * piece // count for piece in range(count + 1)]
    places = [[0, *range(start, end)] for start, end in itertools.pairwise(ends)]
    return [table.iloc[:, columns] for columns in places] if count > 1 else [table]


def latex(table: pd.DataFrame, caption: str, note: str = "", name: str = "") -> str:
    """A table environment in LaTeX, for the packages booktabs and graphicx.

    A table that is wider than the text is made smaller, and a wide one comes in pieces, see `pieces`.

    Args:
        table: The table in words.
        caption: One sentence.
        note: Below the table.
        name: What \\ref{tab:NAME} calls it; "" for nothing.
    """
    return "\n".join(
        [
            r"% \usepackage{booktabs,graphicx}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escaped(caption)}}}",
            *([rf"\label{{tab:{name}}}"] if name else []),
            "\n\n\\medskip\n".join(map(_tabular, pieces(table))),
            *([rf"\par\smallskip\footnotesize\raggedright {_escaped(note)}"] if note else []),
            r"\end{table}",
            "",
        ]
    )


def _tabular(table: pd.DataFrame) -> str:
    """One piece of a table, as wide as the text at most."""
    body = [" & ".join(_escaped(cell) for cell in row) + r" \\" for row in table.itertuples(index=False)]
    return "\n".join(
        [
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{''.join(_alignment(table[name]) for name in table)}}}",
            r"\toprule",
            " & ".join(_escaped(name) for name in table.columns) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
        ]
    )


def plus_minus(mean: float, deviation: float, scale: float = 1.0, digits: int = 2) -> str:
    """Numbers as 93.10 ± 0.25, as 93.10 without a deviation, and as – without a mean."""
    if not pd.notna(mean):
        return "–"
    text = f"{mean * scale:.{digits}f}"
    return f"{text} ± {deviation * scale:.{digits}f}" if pd.notna(deviation) else text


def shown_p(value: float) -> str:
    """A p-value as 0.031, as < 0.001 below that, and as – where there is none."""
    if not pd.notna(value):
        return "–"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def _alignment(cells: pd.Series) -> str:
    """Numbers stand on the right, words on the left, and long texts in lines."""
    if cells.astype(str).str.len().max() > _LONGEST:
        return r"p{5cm}"
    return "r" if cells.astype(str).str.fullmatch(_NUMBER).all() else "l"


def _escaped(text: object) -> str:
    return "".join(_LATEX.get(character, character) for character in str(text))
