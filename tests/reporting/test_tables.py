"""Tables that can be read: wide ones in pieces, and LaTeX that compiles onto its page."""

import re
import shutil
import subprocess

import pandas as pd
import pytest

from infoplane.reporting.tables import latex, markdown, pieces

LETTERS = "a&b_c%d#e$f{g}^h~i\\j|k ±−αβρσ√≥≤×→<>δλΣ… 10¹² log₂ n é–"


def wide(columns, width=12):
    cells = {f"column {place}": ["1.00 ± 0.10"[:width], "< 0.001"] for place in range(columns - 1)}
    return pd.DataFrame({"method": ["sgd", "greedy-dib"], **cells})


@pytest.mark.parametrize(("columns", "sizes"), [(1, [1]), (12, [12]), (13, [7, 7]), (14, [7, 8]), (18, [9, 10])])
def test_wide_tables_come_in_pieces_with_their_first_column(columns, sizes):
    table = wide(columns)
    parts = pieces(table)
    assert [part.shape[1] for part in parts] == sizes
    assert all(part.columns[0] == "method" for part in parts)
    rest = pd.concat([part.iloc[:, 1:] for part in parts], axis=1)
    assert rest.columns.tolist() == table.columns.tolist()[1:]
    assert rest.equals(table.iloc[:, 1:])
    text = markdown(table)
    assert text.count("| method |") == len(sizes)
    assert max(line.count("|") - 1 for line in text.splitlines()) == max(sizes)


def test_the_first_columns_may_be_called_alike():
    table = pd.DataFrame([["a", "b", "c"]], columns=["x", "x", "y"])
    assert [part.to_numpy().tolist() for part in pieces(table, 1)] == [[["a", "b"]], [["a", "c"]]]


def compiled(tmp_path, *tables):
    """What LaTeX says of some tables in a paper, and what can be read on its pages."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no LaTeX on this machine")
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (tmp_path / "paper.tex").write_text("\n".join([head, *tables, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    return log


@pytest.mark.parametrize("columns", [3, 12, 14, 18])
def test_latex_fits_onto_its_page(tmp_path, columns):
    log = compiled(tmp_path, latex(wide(columns), "A caption.", "A note.", "wide"))
    assert "Overfull" not in log
    assert not re.search("Missing character|undefined", log)


def test_long_texts_are_broken_and_all_letters_are_known(tmp_path):
    table = pd.DataFrame({"name": [LETTERS], "text": ["many words of a reason " * 10], "p": ["< 0.001"]})
    log = compiled(tmp_path, latex(table, LETTERS, LETTERS))
    assert not re.search("Overfull|Missing character|undefined", log)
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext on this machine")
    text = subprocess.run(["pdftotext", "-layout", "paper.pdf", "-"], cwd=tmp_path, capture_output=True, check=True)
    seen = text.stdout.decode()
    assert "< 0.001" in seen
    assert "¡" not in seen
