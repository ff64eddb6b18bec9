"""Run files of a comparison with planted results, as `infoplane compare` leaves them, without any training."""

import dataclasses

import numpy as np
from scipy.spatial.distance import pdist

from infoplane.runfile import LayerInfo, Probe, RunWriter
from infoplane.targets import Target
from infoplane.trainers.settings import TrainingSettings

CLASSES, SAMPLES = 4, 200
INPUTS = np.random.default_rng(0).standard_normal((40, 5))
LABELS = np.arange(40) % CLASSES
BLOCKS = ("conv1", "conv2", "logits")


def planted_run(
    path,
    accuracy=0.9,
    *,
    curve=None,
    blocks=None,
    stages=1,
    finished=True,
    boxes=False,
    noise=0.5,
    loss=0.3,
    names=(),
    **config,
):
    """A run of 10 epochs with a test accuracy.

    `curve` are accuracies at evenly spaced snapshots; `blocks` those of the blocks' classifiers. Of each class,
    wrong answers go to the next class. `noise` blurs the hidden layers, `loss` is that on what is held out; `names`
    are those of the classes.
    """
    seed = int("".join(filter(str.isdigit, path.stem)) or 0)
    settings = TrainingSettings(**{"method": path.parent.name, "seed": seed, "epochs": 10, **config}).resolved()
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    outputs = CLASSES + 4 * (settings.task == "classes+boxes")
    layers = [LayerInfo(name, (outputs if name == "logits" else max(6, outputs),)) for name in BLOCKS]
    probe = Probe(
        Target("classes", LABELS, names), distances=pdist(INPUTS), indices=np.arange(len(LABELS)), shape=(5,)
    )
    held_out = "validation" if settings.validation else "test"
    curve = [0.1, accuracy] if curve is None else curve
    with RunWriter.create(
        path, layers, probe, config=dataclasses.asdict(settings), provenance={"device": "cpu"}
    ) as writer:
        for place, value in enumerate(curve):
            share = place / (len(curve) - 1)
            metrics = {"stage": float(min(int(share * stages), stages - 1)), f"{held_out}_accuracy": value}
            metrics |= {"train_accuracy": 1.0, f"{held_out}_loss": loss, f"{held_out}_accuracy@conv1": value / 2}
            with writer.snapshot(int(share * 100), 10 * share, metrics) as out:
                for layer in layers:
                    means = np.eye(CLASSES, layer.features)[LABELS]
                    values = means + noise * rng.standard_normal(means.shape)
                    out.layer(layer.name, "activations", values, nonfinite=0, constant=False)
        if finished:
            writer.set_results(*results(accuracy, blocks or {"network": accuracy}, boxes))
    return path


def results(accuracy, blocks, boxes=False):
    """Numbers and arrays of a finished run."""
    labels = np.arange(SAMPLES) % CLASSES
    wrong = np.zeros(SAMPLES, dtype=bool)
    wrong[: round(SAMPLES * (1 - accuracy))] = True
    predictions = np.where(wrong, (labels + 1) % CLASSES, labels)
    confusion = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    numbers = {
        "test_accuracy": accuracy, "test_loss": 0.3, "test_nll": 0.3, "calibration_error": 0.05,
        "blocks": blocks, "train_samples": 1000, "steps": 100, "epochs": 10.0, "seconds": 5.0,
        "peak_bytes": 3 * 2**20, "saved_bytes": None if len(blocks) == 1 else 2**20, "flops": 10**9,
        "cache_bytes": 0, "parameters": 1000, "auxiliary_parameters": 0, "device": "cpu",
    }  # fmt: skip
    arrays = {"predictions": predictions, "labels": labels, "confusion": confusion}
    if boxes:
        true = np.tile(np.float32([0.25, 0.25, 0.75, 0.75]), (SAMPLES, 1))
        # Class 0 is found exactly, the others half a box too wide.
        found = np.where((labels == 0)[:, None], true, np.float32([0.25, 0.25, 1.0, 0.75]))
        arrays |= {"boxes": found.astype(np.float32), "true_boxes": true}
        numbers["test_iou"] = 0.75
    return numbers, arrays


def planted_comparison(folder, accuracies, **settings):
    """Variants with the accuracies of their seeds; `settings` holds more of some variants by name."""
    return [
        planted_run(folder / name / f"seed{seed}.h5", value, **settings.get(name, {}))
        for name, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
