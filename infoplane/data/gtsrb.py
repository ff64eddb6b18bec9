"""The German traffic signs (Stallkamp et al. 2012): images of many sizes, each with the box of its sign.

A track is up to 30 frames of one physical sign, taken as the car drives towards it.
"""

from __future__ import annotations

import csv
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoplane.data.dataset import Split
from infoplane.errors import InfoplaneError
from infoplane.files import reason, refuse_no_file

REGIONS = ("whole", "sign")
_CORNERS = (("Roi.X1", "Width"), ("Roi.Y1", "Height"), ("Roi.X2", "Width"), ("Roi.Y2", "Height"))
_FORMATS = ("PPM", "PNG", "JPEG", "BMP")
_MOST_PIXELS = 2**22  # the largest published image has 250 × 250
_TRACKS_PER_CLASS = 100_000  # the names of the files have five digits for the track


def load_gtsrb(dataset: Any, folder: Path, size: int, region: str) -> Split:
    """One official split: images of size×size in the order of the files, boxes, and tracks as groups.

    Args:
        dataset: `torchvision.datasets.GTSRB` of the split.
        folder: Its folder `gtsrb`.
        size: Height and width of the images.
        region: "whole" for the images as they are, "sign" for each cropped to its box, which leaves no boxes.

    Returns:
        The split; without boxes where the annotations of any image are missing, and without groups where the
        names of the files tell no track, as in the test split.

    Raises:
        InfoplaneError: An image or an annotation is damaged, or an annotation is missing where images are to be
            cropped.
    """
    paths = [Path(path) for path, _ in dataset._samples]
    for path in paths:
        if ".." in path.parts or not path.is_relative_to(folder):
            raise InfoplaneError(f"the annotations in {folder} name {path}, an image elsewhere; take them anew")
    boxes = _boxes(paths, folder)
    if region == "sign" and boxes is None:
        raise InfoplaneError(
            f"{paths[0].parent} has images without annotations, which cannot be cropped to their signs; put "
            f"GT-00000.csv to GT-00042.csv into the folders of {folder / 'GTSRB' / 'Training'} and "
            f"GT-final_test.csv into {folder}"
        )
    images = _decode(paths, size, boxes if region == "sign" else None)
    labels = torch.tensor([label for _, label in dataset._samples])
    return Split(images, labels, boxes if region == "whole" else None, _tracks(paths, labels))


def _decode(paths: list[Path], size: int, boxes: Tensor | None) -> Tensor:
    """Decode images and resize each, as a whole or what is in its box."""
    from PIL import Image

    images = np.empty((len(paths), 3, size, size), dtype=np.uint8)

    def decode(part: range) -> None:
        for index in part:
            image = _read_image(paths[index])
            sizes = torch.tensor([*image.size, *image.size])
            box = None if boxes is None else (boxes[index].double() * sizes).tolist()
            resized = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
            images[index] = np.asarray(resized).transpose(2, 0, 1)

    # Threads suffice, since Pillow decodes and resizes without the interpreter lock. They take many images at once,
    # since to hand over one costs as much as to decode it.
    everything = range(len(paths))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(decode, (everything[first : first + 256] for first in everything[::256])))
    return torch.from_numpy(images)


def _read_image(path: Path) -> Any:
    """One image in RGB, of a format that is decoded here and in no other program."""
    from PIL import Image

    refuse_no_file(path)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height <= _MOST_PIXELS:
                return image.convert("RGB")
            fault = f"{image.width} × {image.height} pixels are too many for a traffic sign"
    except Exception as error:  # a damaged image fails in as many ways as its format has fields
        fault = reason(error)
    raise InfoplaneError(f"{path} cannot be read as an image of a sign: {fault}; take it anew")


def _boxes(paths: list[Path], folder: Path) -> Tensor | None:
    """Boxes (N, 4) as fractions of the sizes in the annotations, which the files need not have any more."""
    known: dict[Path, list[float]] = {}
    for images in {path.parent for path in paths}:
        table = images / f"GT-{images.name}.csv" if images.name.isdigit() else folder / "GT-final_test.csv"
        if table.is_file():
            known |= {images / name: box for name, box in _read_boxes(table).items()}
    return torch.tensor([known[path] for path in paths]) if known.keys() >= set(paths) else None


def _read_boxes(table: Path) -> dict[str, list[float]]:
    """File name and box (x1, y1, x2, y2) in fractions, of every row; nothing from a table without boxes."""
    boxes: dict[str, list[float]] = {}
    with table.open(newline="") as file:
        rows = csv.DictReader(file, delimiter=";", skipinitialspace=True)
        if not {name for pair in _CORNERS for name in pair} <= set(rows.fieldnames or ()):
            return {}
        for row in rows:
            try:
                x1, y1, x2, y2 = box = [int(row[corner]) / int(row[side]) for corner, side in _CORNERS]
            except (TypeError, ValueError, ZeroDivisionError):
                box = []
            if not box or not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
                raise InfoplaneError(
                    f"{table} line {rows.line_num} holds no box within its image; take the file anew"
                )
            boxes[row["Filename"]] = box
    return boxes


def _tracks(paths: list[Path], labels: Tensor) -> Tensor | None:
    """A number (N,) for each track of each class, from file names such as 00003_00012.ppm: track 3, frame 12."""
    matches = [re.fullmatch(r"(\d{5})_\d{5}", path.stem) for path in paths]
    tracks = [int(match[1]) for match in matches if match]
    return labels * _TRACKS_PER_CLASS + torch.tensor(tracks) if len(tracks) == len(paths) else None
