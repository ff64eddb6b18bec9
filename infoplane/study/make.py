"""What `infoplane figures` does: every figure and table of a study, its report, and a page that shows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infoplane.analysis.analyze import Report, judge
from infoplane.errors import InfoplaneError, MissingData
from infoplane.figures.parts.style import save
from infoplane.files import write_text
from infoplane.reporting.report import write_report
from infoplane.reporting.tables import markdown, save_table
from infoplane.study.figures import Study, drawings
from infoplane.study.tables import tables

PAGE = "index.md"


def refuse_existing_study(output: Path, force: bool) -> None:
    """Lets nobody overwrite a study by accident.

    Raises:
        InfoplaneError: Its page exists (and not `force`).
    """
    if (output / PAGE).exists() and not force:
        raise InfoplaneError(f"{output / PAGE} exists; use `force=True` to make the figures again")


def make_study(study: Study, output: Path, command: str) -> Iterator[str]:
    """Makes everything that the runs allow.

    Args:
        study: The runs.
        output: Folder; gets `figures`, `tables`, `report.md`, `report.json` and `index.md`.
        command: The command that makes it, for the page.

    Yields:
        A line for each thing: the file, or what is missing and why.

    Raises:
        InfoplaneError: A file cannot be written, or a run file is damaged.
    """
    report = _report(study)
    lines = [f"# The study\n\nMade by `{command}`.\n"]
    missing = []
    if report:
        for path in write_report(report, output / "report", force=True):
            yield str(path)
        verdicts = [f"- {verdict.claim}: **{verdict.outcome}**" for verdict in report.verdicts]
        lines += ["## Verdicts\n", *verdicts, "\nThe reasons: [report.md](report.md).\n"]
    lines.append("## Figures\n")
    for drawing in drawings(study):
        if drawing.missing:
            missing.append(f"{drawing.name}: {drawing.missing}")
            yield f"missing: {missing[-1]}"
            continue
        files = save(drawing.draw(), output / "figures" / drawing.name, drawing.table, force=True)
        lines.append(f"![{drawing.name}](figures/{files[0].name})\n")
        yield str(files[0])
    lines.append("## Tables\n")
    for table in tables(study, report):
        if table.missing:
            missing.append(f"{table.name}: {table.missing}")
            yield f"missing: {missing[-1]}"
            continue
        save_table(table.numbers, table.shown, output / "tables" / table.name, table.caption, table.note)
        lines.append(f"**{table.name}.** {table.caption}\n\n{markdown(table.shown)}\n\n{table.note}\n")
        yield str(output / "tables" / f"{table.name}.md")
    if missing:
        lines += ["## Missing\n", *(f"- {reason}" for reason in missing)]
    write_text(output / PAGE, "\n".join(lines) + "\n")
    yield str(output / PAGE)


def _report(study: Study) -> Report | None:
    try:
        return judge(study.trained, study.controls)
    except MissingData:
        return None
