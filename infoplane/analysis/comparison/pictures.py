"""Pictures of the classes that are hard to recognise, from the data set that the runs were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from numpy.typing import NDArray

from infoplane.analysis.comparison.classes import hardest_classes, mistaken_samples, per_class
from infoplane.data import load_dataset
from infoplane.errors import InfoplaneError
from infoplane.runfile import open_run


def hard_pictures(paths: Sequence[Path], data_root: Path, count: int = 3) -> dict[int, list[NDArray]]:
    """Test images of the hardest classes, those that most of the runs get wrong.

    Args:
        paths: Finished runs of one comparison.
        data_root: Folder of the data sets.
        count: How many images of each class.

    Returns:
        For each of the hardest classes its images, uint8, (H, W, 3), or (H, W) where they are grey.

    Raises:
        InfoplaneError: The data set holds no images, or is not there.
        MissingData: All classes are always recognised.
    """
    with open_run(paths[0]) as run:
        config = run.config
        labels = run.result("labels")
    test = load_dataset(config["dataset"], data_root, config["image_size"], config["region"]).test
    if test.inputs.dim() != 4:
        raise InfoplaneError(f"data set '{config['dataset']}' holds no images; leave out `data_root`")
    if test.labels.tolist() != labels.tolist():
        raise InfoplaneError(
            f"the test split in {data_root} is not the one of {paths[0]}; give its own `data_root`"
        )
    worst = mistaken_samples(paths, hardest_classes(per_class(paths)), count)
    images = test.inputs.permute(0, 2, 3, 1).numpy()
    found: dict[int, list[NDArray]] = {}
    for name, index in zip(worst["class"], worst["index"], strict=True):
        found.setdefault(int(name), []).append(images[index].squeeze())
    return found
