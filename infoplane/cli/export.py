"""`infoplane export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from infoplane.cli.options import (
    OUTPUT,
    RUN_FILE,
    CommaList,
    examples,
    force_option,
    loading,
    option,
    talkative,
    verb,
)
from infoplane.cli.output import say


@verb(
    short_help="Write a run for other programs: netCDF, CSV.",
    epilog=examples(
        "infoplane export run.h5 --netcdf   # xarray.open_dataset('run.nc')",
        "infoplane export run.h5 --netcdf --layers conv1,logits -o small",
        "infoplane export seed*.h5 --csv    # the metrics of each snapshot",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=RUN_FILE)
@option("--csv", is_flag=True, help="RUN-metrics.csv: step, epoch, loss, … of each snapshot.", heading=OUTPUT)
@option(
    "--netcdf",
    is_flag=True,
    help="RUN.nc: layers, probe and metrics with named axes, as `run.to_xarray()` gives them.",
    heading=OUTPUT,
)
@option(
    "--layers",
    type=CommaList(str, "NAME,..."),
    default=None,
    show_default="all",
    help="Write only these layers to netCDF.",
    heading=OUTPUT,
)
@option(
    "-o",
    "--output",
    type=RUN_FILE,
    default=None,
    show_default="beside the run",
    help="Name of the files without ending; for a single run.",
    heading=OUTPUT,
)
@force_option
@talkative
def export(
    runs: Sequence[Path],
    csv: bool,
    netcdf: bool,
    layers: Sequence[str] | None,
    output: Path | None,
    force: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write runs for other programs, such as R or a spreadsheet.

    The run file itself is HDF5 with named axes, which xarray opens as it is:
    xarray.open_datatree('run.h5', engine='h5netcdf'). The estimates are CSV already: infoplane estimate.
    """
    formats = [name for name, wanted in (("csv", csv), ("netcdf", netcdf)) if wanted]
    if not formats:
        raise click.UsageError("choose a format: --csv, --netcdf or both")
    if layers and not netcdf:
        raise click.UsageError("--layers is of --netcdf; leave it out")
    if output is not None and len(runs) > 1:
        raise click.UsageError("--output is the name of one run's files; leave it out for several")
    with loading(quiet):
        from infoplane.runfile import export_csv, export_netcdf, export_paths, open_run

    for path in runs:
        places = export_paths(path, formats, output, force)
        with open_run(path) as run:
            if "csv" in places:
                say(export_csv(run, places["csv"]))
            if "netcdf" in places:
                say(export_netcdf(run, places["netcdf"], layers or ()))
