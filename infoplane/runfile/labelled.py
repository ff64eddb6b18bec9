"""A run for other programs: as a labelled data set of xarray, as netCDF, as CSV."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from infoplane.errors import InfoplaneError, WriteFailed
from infoplane.files import MARK, drafts, refuse_foreign, unwritten, whole, write_csv
from infoplane.runfile.axes import PAIR, SAMPLE, free, stored_axes
from infoplane.runfile.checks import ACTIVATIONS
from infoplane.runfile.names import beside
from infoplane.runfile.schema import LayerInfo, Probe, stored_name

if TYPE_CHECKING:
    import xarray

    from infoplane.runfile.reader import Run

STEP = "step"
# Names of what is no layer.
_TAKEN = (
    STEP,
    "epoch",
    SAMPLE,
    PAIR,
    "pair_i",
    "pair_j",
    "metric",
    "metrics",
    "input_distances",
    "labels",
    "values",
)
FORMATS = {"csv": "-metrics.csv", "netcdf": ".nc"}
# With what the metrics of a run begin.
_METRICS = "snapshot,step,epoch"


def labelled(run: Run, layers: Collection[str] = ()) -> xarray.Dataset:
    """What `Run.to_xarray` gives.

    Args:
        run: An open run.
        layers: Names of the layers to take; none takes all.

    Raises:
        InfoplaneError: As for `Run.to_xarray`.
    """
    try:
        import xarray
    except ImportError:
        raise _missing("xarray") from None
    run.require_snapshots()
    wanted = [run.layer(name) for name in layers] or run.layers
    metrics = run.metrics.drop(columns=["snapshot", "step", "epoch"])
    variables: dict[str, Any] = {
        "metrics": ((STEP, "metric"), metrics.to_numpy(dtype=float)),
        "input_distances": ((PAIR,), run.probe.distances, {"measure": run.probe.input_distance}),
    }
    for layer in wanted:
        variables |= _layer(run, layer)
    coordinates = {
        STEP: [snapshot.step for snapshot in run.snapshots],
        "epoch": ((STEP,), [snapshot.epoch for snapshot in run.snapshots]),
        "metric": [str(name) for name in metrics],
        **_probe(run.probe),
    }
    about = {"config": json.dumps(run.config), "provenance": json.dumps(run.provenance)}
    attributes = {"run_id": run.run_id, "layers": [layer.name for layer in wanted], **about}
    return xarray.Dataset(variables, coordinates, attributes)


def export_paths(
    path: Path, formats: Sequence[str], stem: Path | None = None, force: bool = False
) -> dict[str, Path]:
    """Where the exports of a run go: `RUN-metrics.csv` and `RUN.nc`.

    Args:
        path: The run file.
        formats: Some of `FORMATS`.
        stem: Path without ending, in the place of the run's.
        force: Overwrite files that infoplane did not make, too.

    Raises:
        InfoplaneError: One of them exists and is not of infoplane (and not `force`).
    """
    places = {
        name: beside(path, FORMATS[name]) if stem is None else stem.with_name(stem.name + FORMATS[name])
        for name in formats
    }
    refuse_foreign(*places.values(), force=force, header=_METRICS)
    return places


def export_netcdf(run: Run, path: Path, layers: Collection[str] = ()) -> Path:
    """Writes `Run.to_xarray` as netCDF, compressed and as a whole.

    Args:
        run: An open run.
        path: The file.
        layers: Names of the layers to take; none takes all.

    Raises:
        InfoplaneError: As for `Run.to_xarray`, or h5netcdf is missing, or the file cannot be written.
    """
    try:
        import h5netcdf  # noqa: F401 - xarray says so in many lines
    except ImportError:
        raise _missing("h5netcdf") from None
    data = labelled(run, layers).assign_attrs(note=MARK)
    squeezed = {name: {"zlib": True, "complevel": 1, "shuffle": True} for name in data.data_vars}
    try:
        with drafts(path) as [draft]:
            data.to_netcdf(draft, engine="h5netcdf", encoding=squeezed)
    except (OSError, RuntimeError) as error:
        raise WriteFailed(*unwritten(path, error).args) from error
    return path


def export_csv(run: Run, path: Path) -> Path:
    """Writes the metrics of each snapshot as CSV.

    Args:
        run: An open run.
        path: The file.

    Raises:
        InfoplaneError: It cannot be written.
    """
    with whole(path) as [draft]:
        write_csv(run.metrics, draft)
    return path


def _layer(run: Run, layer: LayerInfo) -> dict[str, Any]:
    """A layer at all snapshots, as a variable; as distances where some of them were kept so."""
    kinds = {snapshot.kind(layer.name) for snapshot in run.snapshots}
    [name] = free([stored_name(layer.name)], _TAKEN)
    if kinds == {ACTIVATIONS}:
        values = np.stack([snapshot.activations(layer.name) for snapshot in run.snapshots])
        axes = stored_axes(name, ACTIVATIONS, values.ndim - 1, _TAKEN[5:])
    else:
        values = np.stack([snapshot.distances(layer.name) for snapshot in run.snapshots])
        axes = [PAIR]
    return {name: ((STEP, *axes), values, {"layer": layer.name, "note": layer.note})}


def _probe(probe: Probe) -> Mapping[str, Any]:
    """The samples, their pairs, and what the network is asked for, as coordinates."""
    first, second = np.triu_indices(len(probe), 1)
    target = probe.target
    asked = (
        {"labels": ((SAMPLE,), target.classes, {"names": list(target.names)})}
        if target.discrete
        else {"values": ((SAMPLE, "value"), target.values)}
    )
    return {
        SAMPLE: probe.indices,
        "pair_i": ((PAIR,), first),
        "pair_j": ((PAIR,), second),
        **asked,
    }


def _missing(package: str) -> InfoplaneError:
    return InfoplaneError(f'this needs {package}; install it: pip install "infoplane[xarray]"')
