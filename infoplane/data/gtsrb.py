"""The German traffic signs (Stallkamp et al. 2012): images of many sizes, each with the box of its sign.

A track is up to 30 frames of one physical sign, taken as the car drives towards it.
"""

from __future__ import annotations

import csv
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoplane.data.class_names import CLASS_NAMES
from infoplane.data.dataset import Split
from infoplane.errors import InfoplaneError
from infoplane.files import reason, refuse_no_file

REGIONS = ("whole", "sign")
_PARTS = ("GTSRB/Training", "GTSRB/Final_Test/Images", "GT-final_test.csv")
_CLASSES = range(len(CLASS_NAMES["gtsrb"]))
_CORNERS = (("Roi.X1", "Width"), ("Roi.Y1", "Height"), ("Roi.X2", "Width"), ("Roi.Y2", "Height"))
_SIDES = {name for pair in _CORNERS for name in pair}
_FORMATS = ("PPM", "PNG", "JPEG", "BMP")
_MOST_PIXELS = 2**22  # the largest published image has 250 × 250
_TRACKS_PER_CLASS = 100_000  # the names of the files have five digits for the track


@dataclass(frozen=True)
class Signs:
    """The files of one official split.

    Attributes:
        paths: The N images, in their order.
        labels: Their classes (N,) int64.
        boxes: Boxes (N, 4) as fractions of the sizes in the annotations, which the files need not have any more;
            None where the annotations of any image are missing.
    """

    paths: list[Path]
    labels: Tensor
    boxes: Tensor | None


@dataclass(frozen=True)
class _Row:
    """What the annotations say of one image: class, and box (x1, y1, x2, y2) in fractions where they have boxes."""

    label: int
    box: list[float] | None


def find_gtsrb(folder: Path) -> tuple[Signs, Signs]:
    """Training and test split; images and annotations are there for each other, in all classes.

    Args:
        folder: The folder `gtsrb`, as torchvision lays it out.

    Raises:
        FileNotFoundError: Training, test images or their annotations are not there.
        InfoplaneError: They are incomplete or damaged.
    """
    training, test, table = parts = [folder / part for part in _PARTS]
    for part in parts:
        if not part.exists():
            raise FileNotFoundError(f"{part} is not there")
    classes = [_class(training / f"{label:05d}", label) for label in _CLASSES]
    boxes = [part.boxes for part in classes if part.boxes is not None]
    return Signs(
        [path for part in classes for path in part.paths],
        torch.cat([part.labels for part in classes]),
        torch.cat(boxes) if len(boxes) == len(classes) else None,
    ), _annotated(test, _read_annotations(table), table)


def load_gtsrb(signs: Signs, size: int, region: str) -> Split:
    """One official split: images of size×size in the order of the files, boxes, and tracks as groups.

    Args:
        signs: Its files.
        size: Height and width of the images.
        region: "whole" for the images as they are, "sign" for each cropped to its box, which leaves no boxes.

    Returns:
        The split; without boxes where the annotations of any image are missing, and without groups where the
        names of the files tell no track, as in the test split.

    Raises:
        InfoplaneError: An image is damaged, or an annotation is missing where images are to be cropped.
    """
    paths, boxes = signs.paths, signs.boxes
    if region == "sign" and boxes is None:
        raise InfoplaneError(
            f"{paths[0].parent} has images without annotations, which cannot be cropped to their signs; put "
            "GT-00000.csv to GT-00042.csv into the folders of GTSRB/Training and GT-final_test.csv beside GTSRB"
        )
    images = _decode(paths, size, boxes if region == "sign" else None)
    return Split(images, signs.labels, boxes if region == "whole" else None, _tracks(paths, signs.labels))


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


def _class(folder: Path, label: int) -> Signs:
    """The training images of one class, whose number is the name of their folder, in the order of their names."""
    names = _names(folder)
    table = folder / f"GT-{folder.name}.csv"
    if not table.exists():
        return Signs([folder / name for name in names], torch.full((len(names),), label), None)
    rows = _read_annotations(table, label)
    return _annotated(folder, {name: rows[name] for name in sorted(rows)}, table)


def _names(folder: Path) -> list[str]:
    """The names of the images in a folder, in order."""
    names = sorted(path.name for path in folder.glob("*") if path.suffix.lower() == ".ppm")
    if not names:
        raise _damaged(folder, "holds no images (.ppm)")
    return names


def _annotated(folder: Path, rows: dict[str, _Row], table: Path) -> Signs:
    """The images of a folder, each of which has its row in a table, in the order of the rows."""
    names = _names(folder)
    for name in sorted(rows.keys() ^ set(names)):
        raise _damaged(folder / name, f"is not there, but in {table}" if name in rows else f"has no row in {table}")
    boxes = [row.box for row in rows.values() if row.box is not None]
    return Signs(
        [folder / name for name in rows],
        torch.tensor([row.label for row in rows.values()]),
        torch.tensor(boxes) if len(boxes) == len(rows) else None,
    )


def _read_annotations(table: Path, label: int | None = None) -> dict[str, _Row]:
    """A row for each name of an image; the label is that of all of them where the table need not say it."""
    needed = ["Filename"] if label is not None else ["Filename", "ClassId"]
    rows: dict[str, _Row] = {}
    refuse_no_file(table)
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file, delimiter=";", skipinitialspace=True)
            columns = set(lines.fieldnames or ())
            if not columns.issuperset(needed):
                raise _damaged(table, f"does not begin with the names of its columns, {' and '.join(needed)} among")
            for line in lines:
                name, place = line["Filename"] or "", f"{table} line {lines.line_num}"
                if name in rows:
                    raise _damaged(place, f"names '{name}' again")
                if not name or Path(name).name != name:
                    raise _damaged(place, f"names '{name}', no image in its folder")
                box = _box(line, place) if columns >= _SIDES else None
                rows[name] = _Row(_label(line.get("ClassId", label), label, place), box)
    except (OSError, ValueError, csv.Error) as error:
        raise _damaged(table, f"cannot be read: {reason(error)}") from error
    return rows


def _box(line: dict[str, Any], place: str) -> list[float]:
    """The box of one line, in fractions."""
    try:
        x1, y1, x2, y2 = box = [int(line[corner]) / int(line[side]) for corner, side in _CORNERS]
    except (TypeError, ValueError, ArithmeticError):
        raise _damaged(place, "holds no box within its image") from None
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise _damaged(place, "holds no box within its image")
    return box


def _label(text: str | int | None, expected: int | None, place: str) -> int:
    """The class of one line, which is that of its folder where this has one."""
    for label in _CLASSES if expected is None else [expected]:
        if text in (label, str(label), f"{label:05d}"):
            return label
    wanted = f"0 to {_CLASSES[-1]}" if expected is None else f"{expected}, that of its folder"
    raise _damaged(place, f"is of class {text}, not {wanted}")


def _damaged(place: Path | str, fault: str) -> InfoplaneError:
    return InfoplaneError(f"{place} {fault}; take the data set anew")


def _tracks(paths: list[Path], labels: Tensor) -> Tensor | None:
    """A number (N,) for each track of each class, from file names such as 00003_00012.ppm: track 3, frame 12."""
    matches = [re.fullmatch(r"(\d{5})_\d{5}", path.stem, re.ASCII) for path in paths]
    if not any(matches):
        return None
    for path, match in zip(paths, matches, strict=True):
        if match is None:
            raise _damaged(path, "does not tell its track, such as 00003_00012.ppm")
    return labels * _TRACKS_PER_CLASS + torch.tensor([int(match[1]) for match in matches if match])
