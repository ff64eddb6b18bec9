"""Structural faults of run files and of what stands beside them: how each is made, and what readers say of it.

A fault of the file as a whole is seen by whoever opens it; `AT_VALUES` are seen where those values are read.
"""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from infoplane.trainers.session import record
from infoplane.trainers.settings import TrainingSettings

N = 40
LAYER, LOGITS = "snapshots/000001/fc1", "snapshots/000001/logits"
SETTINGS = TrainingSettings(
    model="mlp", widths=(12, 6), epochs=1, snapshots="4", probe_size=N, train_size=200, eval_size=50, device="cpu"
)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file.

    Attributes:
        name: What it is called.
        make: Makes it in a run file.
        message: A part of the line that readers print.
    """

    name: str
    make: object
    message: str

    def __str__(self):
        return self.name


def whole_run(folder):
    """A run file without faults, with its checkpoint; three layers, kept as activations, at four snapshots."""
    path = Path(folder) / "run.h5"
    record(SETTINGS, path)
    return path


def inside(change):
    """A change of the open HDF5 file as a change of the file."""

    def make(path):
        with h5py.File(path, "r+") as file:
            change(file)
        # No reader is to wait for a writer that is half-way through.
        os.utime(path, (0, 0))

    return make


def attribute(place, name, value):
    """Another attribute; None takes it away."""

    def change(file):
        attributes = file[place].attrs
        del attributes[name]
        if value is not None:
            attributes[name] = value

    return inside(change)


def json_value(place, name, key, value):
    """Another value by its key in the JSON object of an attribute."""

    def change(file):
        held = json.loads(file[place].attrs[name])
        file[place].attrs[name] = json.dumps({**held, key: value})

    return inside(change)


def array(place, values, **options):
    """Another array in the place of one, with the same attributes; None takes it away."""

    def change(file):
        attributes = dict(file[place].attrs) if place in file else {}
        if place in file:
            del file[place]
        if values is not None:
            file.create_dataset(place, data=values, **options).attrs.update(attributes)

    return inside(change)


def edited(place, change):
    """An array with other values."""
    return inside(lambda file: file[place].__setitem__((), change(file[place][()])))


def layers(change):
    """Another list of layers, as of an older version that says nothing of positions and channels."""

    def edit(file):
        del file.attrs["positions"], file.attrs["channels"]
        file.attrs["layers"] = json.dumps(change(json.loads(file.attrs["layers"])))

    return inside(edit)


def link(kind):
    """A link in the place of a layer."""

    def change(file):
        file.move(LAYER, "aside")
        file[LAYER] = h5py.SoftLink("/aside") if kind == "soft" else h5py.ExternalLink("other.h5", LAYER)

    return inside(change)


def never_written(file):
    """2^34 columns of fill values, of which the file has nothing."""
    listed = json.loads(file.attrs["layers"])
    listed[0][1] = [2**34]
    file.attrs["layers"] = json.dumps(listed)
    for slot in file["snapshots"].values():
        if len(slot.attrs):
            about = dict(slot["fc1"].attrs)
            del slot["fc1"]
            slot.create_dataset("fc1", (N, 2**34), np.float32, chunks=(1, 2**18)).attrs.update(about)


def lost_mark(file):
    """A finished snapshot without the mark that it is."""
    del file["snapshots/000001"].attrs["complete"]


def group_instead(place):
    """A group in the place of a dataset, or the other way round."""

    def change(file):
        was_group = isinstance(file[place], h5py.Group)
        del file[place]
        file.create_dataset(place, data=[1.0]) if was_group else file.create_group(place)

    return inside(change)


def without(place):
    """A file in which something is missing."""
    return inside(lambda file: file.__delitem__(place))


def on_no_axis(file):
    """Positions on an axis that the first layer does not have."""
    file.attrs["positions"] = json.dumps([9, *json.loads(file.attrs["positions"])[1:]])


def twice(file):
    """A snapshot of a step that another has."""
    file["snapshots/000002"].attrs["step"] = file["snapshots/000001"].attrs["step"]


def overwritten(content):
    """Other bytes in the place of a file."""

    def make(path):
        path.write_bytes(content(path.read_bytes()))
        os.utime(path, (0, 0))

    return make


def pipe(path):
    """A pipe that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


DAMAGED = "is damaged or no complete run file"
OF_FILE = [
    Fault(name, make, message)
    for name, make, message in (
        ("nothing in the file", overwritten(lambda _: b""), "is not an HDF5 file"),
        ("text", overwritten(lambda _: b"epochs = 3\n"), "is not an HDF5 file"),
        ("the half of it", overwritten(lambda raw: raw[: len(raw) // 2]), "is truncated or damaged"),
        ("a pipe", pipe, "is a pipe or a device"),
        ("no format", attribute("/", "format", None), "not an infoplane run file"),
        ("format a number", attribute("/", "format", 3), "attribute 'format' of / is no text"),
        ("format an array", attribute("/", "format", ["a", "b"]), "attribute 'format' of / is no text"),
        ("version text", attribute("/", "schema_version", "two"), "'schema_version' of / is no whole number"),
        ("version to come", attribute("/", "schema_version", 99), "upgrade infoplane"),
        ("no run_id", attribute("/", "run_id", None), "attribute 'run_id' of / is missing"),
        ("run_id a number", attribute("/", "run_id", 1.5), "attribute 'run_id' of / is no text"),
        ("no configuration", attribute("/", "config", None), "attribute 'config' of / is missing"),
        ("configuration a list", attribute("/", "config", "[1]"), "'config' of / is no JSON object"),
        ("configuration no JSON", attribute("/", "config", "{'seed': 1"), "attribute 'config' of / cannot be read"),
        ("configuration nested", attribute("/", "config", "[" * 10**5), "attribute 'config' of / cannot be read"),
        ("configuration numbers", attribute("/", "config", np.arange(3)), "attribute 'config' of / is no text"),
        ("provenance a number", attribute("/", "provenance", "3"), "'provenance' of / is no JSON object"),
        ("versions a list", json_value("/", "provenance", "versions", [1]), "holds no versions by name"),
        ("a seed of 400 digits", json_value("/", "config", "seed", 10**399), "(a number of 400 digits)"),
        ("layers an object", attribute("/", "layers", "{}"), "attribute 'layers' of / is no JSON list"),
        ("no layers", layers(lambda _: []), "'layers' of / names no layers"),
        (
            "layers without shapes",
            layers(lambda listed: [[name] for name, *_ in listed]),
            "names, shapes and notes",
        ),
        (
            "layers by numbers",
            layers(lambda listed: [[3, *rest] for _, *rest in listed]),
            "names, shapes and notes",
        ),
        ("a layer twice", layers(lambda listed: [*listed, listed[0]]), "two by one name"),
        ("a layer too many", layers(lambda listed: [*listed, ["fc9", [3], ""]]), "for each of 3 links"),
        ("positions of one layer alone", attribute("/", "positions", "[0]"), "no axis of each layer"),
        ("positions on no axis", inside(on_no_axis), "no axis of each layer"),
        (
            "channels of one layer alone",
            attribute("/", "channels", "[0]"),
            "'channels' of / names no axis of each layer",
        ),
        ("a negative shape", layers(lambda listed: [["fc1", [-12], ""], *listed[1:]]), "list of whole numbers"),
        (
            "a shape of fractions",
            layers(lambda listed: [["fc1", [12.0], ""], *listed[1:]]),
            "list of whole numbers",
        ),
        ("another shape", layers(lambda listed: [["fc1", [3, 4], ""], *listed[1:]]), "where 40 × 3 × 4 is due"),
        ("fill values", inside(never_written), "fc1 was not written in whole"),
        ("no probe", without("probe"), "/probe is missing"),
        ("the probe an array", group_instead("probe"), "/probe is no group"),
        ("no indices", without("probe/indices"), "/probe/indices is missing"),
        ("indices of fractions", array("probe/indices", np.arange(40.0)), "no whole numbers"),
        ("indices a square", array("probe/indices", np.zeros((40, 40), int)), "where any is due"),
        ("an empty probe", array("probe/indices", np.empty(0, int)), "/probe has 0 samples"),
        ("labels of 10 for 40", array("probe/labels", np.arange(10) % 3), "where 40 is due"),
        ("labels of fractions", array("probe/labels", np.ones(40)), "no whole numbers"),
        ("labels of words", array("probe/labels", np.array([b"a"] * 40)), "no whole numbers"),
        ("no labels", without("probe/labels"), "/probe/labels is missing"),
        ("distances of n(n−1)", array("probe/distances", np.ones(1560)), "where 780 is due"),
        ("distances of whole numbers", array("probe/distances", np.ones(780, int)), "no fractions"),
        ("a target of a new kind", attribute("probe", "kind", "ranks"), "unknown kind 'ranks'"),
        ("names of classes an object", attribute("probe", "names", "{}"), "'names' of /probe is no JSON list"),
        ("names of classes numbers", attribute("probe", "names", "[1]"), "no list of names"),
        ("the probe's shape text", attribute("probe", "shape", '"8"'), "'shape' of /probe is no JSON list"),
        ("no writer", without("writer"), "/writer is missing"),
        ("writer open text", attribute("writer", "open", "no"), "'open' of /writer is no truth value"),
        ("finished text", attribute("writer", "finished", "4"), "'finished' of /writer is no whole number"),
        ("more finished than there are", attribute("writer", "finished", 9), "4 of 9 finished snapshots"),
        ("no snapshots", without("snapshots"), "/snapshots is missing"),
        ("a slot missing", without("snapshots/000001"), "not numbered from 000000 on"),
        (
            "a slot by another name",
            inside(lambda file: file.move("snapshots/000003", "snapshots/x")),
            "not numbered",
        ),
        ("a slot that is an array", group_instead("snapshots/000001"), "/snapshots/000001 is no group"),
        ("a snapshot without its mark", inside(lost_mark), "3 of 4 finished snapshots can be read"),
        (
            "the mark text",
            attribute("snapshots/000001", "complete", "yes"),
            "'complete' of /snapshots/000001 is no",
        ),
        ("no step", attribute("snapshots/000001", "step", None), "'step' of /snapshots/000001 is missing"),
        ("the step a fraction", attribute("snapshots/000001", "step", 1.5), "is no whole number"),
        ("the step negative", attribute("snapshots/000001", "step", -1), "is negative"),
        ("a step twice", inside(twice), "stands in it twice"),
        ("the epoch text", attribute("snapshots/000001", "epoch", "one"), "is no number"),
        ("metrics a list", attribute("snapshots/000001", "metrics", "[]"), "is no JSON object"),
        ("a metric of text", attribute("snapshots/000001", "metrics", '{"a": "b"}'), "'a' in attribute 'metrics'"),
        ("a layer missing", without(LAYER), "fc1 is missing"),
        ("a layer of rank 3", array(LAYER, np.ones((40, 12, 1), "f4")), "where 40 × 12 is due"),
        ("a layer of one sample less", array(LAYER, np.ones((39, 12), "f4")), "where 40 × 12 is due"),
        ("a layer of no rank", array(LAYER, np.float32(3)), "where 40 × 12 is due"),
        ("a layer of whole numbers", array(LAYER, np.ones((40, 12), int)), "no fractions"),
        ("a layer of complex numbers", array(LAYER, np.ones((40, 12), complex)), "no fractions"),
        ("a layer of text", array(LAYER, np.full((40, 12), b"x")), "no fractions"),
        ("a layer that is a group", group_instead(LAYER), "fc1 is no dataset"),
        ("a soft link", link("soft"), "is a link"),
        ("a link to another file", link("external"), "is a link"),
        ("a layer of a new kind", attribute(LAYER, "kind", "sketch"), "unknown kind 'sketch'"),
        ("a layer of the other kind", attribute(LAYER, "kind", "distances"), "where 780 is due"),
        ("nonfinite negative", attribute(LAYER, "nonfinite", -1), "is negative"),
        ("nonfinite a fraction", attribute(LAYER, "nonfinite", 0.5), "is no whole number"),
        ("constant text", attribute(LAYER, "constant", "no"), "is no truth value"),
        (
            "counts of other layers",
            attribute("snapshots/000001/parameters", "counts", np.arange(9)),
            "says of no number of parameters for each of 3 layers",
        ),
        (
            "counts negative",
            attribute("snapshots/000001/parameters", "counts", np.array([-1, 2, 3])),
            "says of no number of parameters",
        ),
        ("parameters too short", array("snapshots/000001/parameters", np.ones(3, "f4")), "has 3 values, where"),
        ("results a list", attribute("results", "numbers", "[]"), "'numbers' of /results is no JSON object"),
        ("predictions of another split", array("results/predictions", np.ones(9, int)), "samples"),
        ("no square of classes", array("results/confusion", np.ones((3, 4), int)), "is no square"),
        ("links too many", attribute("/", "links_first", np.zeros(9)), "is not one number for each of 2 links"),
        ("links negative", attribute("/", "links_first", np.array([-1.0, 0])), "is not one number for each"),
    )
]
OF_PROBE = [
    Fault(name, make, message)
    for name, make, message in (
        (
            "distances with inf",
            edited("probe/distances", lambda d: np.where(d > 0, np.inf, d)),
            "/probe holds dist",
        ),
        ("distances with NaN", edited("probe/distances", lambda d: d * np.nan), "/probe holds distances that are"),
        ("distances negative", edited("probe/distances", lambda d: -d), "/probe holds distances that are"),
        ("classes without a name", attribute("probe", "names", '["a", "b"]'), "classes without a name"),
    )
]
OF_LAYER = [
    Fault(name, make, message)
    for name, make, message in (
        ("NaN that is not counted", edited(LAYER, lambda v: v * np.nan), "holds NaN or infinite activations"),
        (
            "infinity that is not counted",
            edited(LAYER, lambda v: v + math.inf),
            "holds NaN or infinite activations",
        ),
    )
]
