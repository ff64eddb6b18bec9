"""The work of `infoplane figures`: every figure and table of a study, its report, and a page that shows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infoplane.analysis.analyze import Report, judge
from infoplane.errors import MissingData
from infoplane.figures.parts.style import save
from infoplane.files import MARK, refuse_foreign, write_text
from infoplane.reporting.report import write_report
from infoplane.reporting.tables import markdown, save_table
from infoplane.study.figures import Study, drawings
from infoplane.study.tables import tables

PAGE = "index.md"


def study_page(output: Path, force: bool) -> Path:
    """Where the page of a study goes.

    Args:
        output: Folder of the study.
        force: Overwrite a file that infoplane did not make, too.

    Raises:
        InfoplaneError: It exists and is not of infoplane (and not `force`).
    """
    refuse_foreign(output / PAGE, force=force)
    return output / PAGE


def make_study(study: Study, output: Path, command: str, *, force: bool = False) -> Iterator[str]:
    """Makes everything that the runs allow.

    Args:
        study: The runs.
        output: Folder; gets `figures`, `tables`, `report.md`, `report.json` and `index.md`.
        command: The command that makes it, for the page.
        force: Overwrite files that infoplane did not make, too.

    Yields:
        A line for each thing: the file, or what is missing and why.

    Raises:
        InfoplaneError: A file is not of infoplane (and not `force`) or cannot be written, or a run file is damaged.
    """
    page = study_page(output, force)
    report = _report(study)
    lines = [f"# The study\n\nMade by `{command}`.\n"]
    missing = []
    if report:
        for path in write_report(report, output / "report", force):
            yield str(path)
        verdicts = [f"- {verdict.claim}: **{verdict.outcome}**" for verdict in report.verdicts]
        lines += ["## Verdicts\n", *verdicts, "\nThe reasons: [report.md](report.md).\n"]
    lines.append("## Figures\n")
    for drawing in drawings(study):
        if drawing.missing:
            missing.append(f"{drawing.name}: {drawing.missing}")
            yield f"missing: {missing[-1]}"
            continue
        files = save(drawing.draw(), output / "figures" / drawing.name, drawing.table, force)
        lines.append(f"![{drawing.name}](figures/{files[0].name})\n")
        yield str(files[0])
    lines.append("## Tables\n")
    for table in tables(study, report):
        if table.missing:
            missing.append(f"{table.name}: {table.missing}")
            yield f"missing: {missing[-1]}"
            continue
        stem = output / "tables" / table.name
        save_table(table.numbers, table.shown, stem, table.caption, table.note, force=force)
        lines.append(f"**{table.name}.** {table.caption}\n\n{markdown(table.shown)}\n\n{table.note}\n")
        yield f"{stem}.md"
    if missing:
        lines += ["## Missing\n", *(f"- {reason}" for reason in missing)]
    write_text(page, "\n".join([*lines, f"\n<!-- {MARK} -->\n"]))
    yield str(page)


def _report(study: Study) -> Report | None:
    try:
        return judge(study.trained, study.controls)
    except MissingData:
        return None
