"""Pictures of the classes that are hard to recognise, from the data set that the runs were trained on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from numpy.typing import NDArray

from infoplane.analysis.comparison.classes import hardest_classes, mistaken_samples, per_class
from infoplane.data import load_dataset
from infoplane.errors import InfoplaneError
from infoplane.runfile import open_run
from infoplane.user_code import names_code


def hard_pictures(folder: Path, runs: pd.DataFrame, data_root: Path, count: int = 3) -> dict[int, list[NDArray]]:
    """Test images of the hardest classes, those that most of the runs get wrong.

    Args:
        folder: The folder of a comparison; its run files say which images those are.
        runs: A table of `infoplane.analysis.comparison.results.runs_table`.
        data_root: Folder of the data sets.
        count: How many images of each class.

    Returns:
        For each of the hardest classes its images, uint8, (H, W, 3), or (H, W) where they are grey.

    Raises:
        InfoplaneError: The data set holds no images, or is not there, nor are the run files.
        MissingData: All classes are always recognised.
    """
    paths = [path for path in (folder / run for run in runs["run"]) if path.exists()]
    if not paths:
        raise InfoplaneError(f"pictures need run files, and {folder} has none; leave out `data_root`")
    with open_run(paths[0]) as run:
        config = run.config
        labels = run.result("labels")
    if names_code(config["dataset"]):
        raise InfoplaneError(f"pictures are not for data of your own, '{config['dataset']}'; leave out `data_root`")
    test = load_dataset(config["dataset"], data_root, config["image_size"], config["region"]).test
    if test.inputs.dim() != 4:
        raise InfoplaneError(f"data set '{config['dataset']}' holds no images; leave out `data_root`")
    if test.labels.tolist() != labels.tolist():
        raise InfoplaneError(
            f"{paths[0]} was tested on another split than the one in {data_root}; give the `data_root` of that run"
        )
    worst = mistaken_samples(paths, hardest_classes(per_class(runs)), count)
    images = test.inputs.permute(0, 2, 3, 1).numpy()
    pictures: dict[int, list[NDArray]] = {}
    for name, index in zip(worst["class"], worst["index"], strict=True):
        pictures.setdefault(int(name), []).append(images[index].squeeze())
    return pictures
