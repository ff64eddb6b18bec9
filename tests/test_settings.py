import dataclasses
from dataclasses import dataclass
from typing import Annotated, TypedDict

import numpy as np
import pytest

from infoplane.errors import InfoplaneError
from infoplane.estimators.registry import NAMES, EstimatorOptions, make_settings
from infoplane.settings import POSITIVE, Setting, at_least, check_settings, setting, settings_of
from infoplane.trainers.settings import TrainingSettings


@dataclass
class Oven:
    heat: float = setting(180.0, "How hot.", "Heat", range=POSITIVE)
    trays: tuple[int, ...] | None = setting(None, "Which trays.", "Place", range=at_least(1))
    mode: str | None = setting(None, "How.", "Heat", choices=("fan", "grill"))
    light: bool = setting(False, "Whether one sees.", "Heat")
    serial: int = 0


class Words(TypedDict, total=False):
    heat: Annotated[float, Setting("How hot.", "Heat", 180.0)]
    plain: str


def test_the_settings_of_a_dataclass_and_of_a_typed_dict():
    oven = settings_of(Oven)
    assert [*oven] == ["heat", "trays", "mode", "light"]
    assert [declared.kind for declared in oven.values()] == [float, int, str, bool]
    assert [declared.several for declared in oven.values()] == [False, True, False, False]
    assert oven["heat"].default == 180.0
    assert settings_of(Words) == {"heat": dataclasses.replace(oven["heat"], range=None)}


@pytest.mark.parametrize("values", [{}, {"heat": 200}, {"heat": np.float32(3)}, {"trays": (1, 2)}, {"mode": None}])
def test_possible_values_pass(values):
    check_settings(Oven(**values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heat": 0.0}, "heat must be positive and finite, got 0.0"),
        ({"heat": float("nan")}, "heat must be positive and finite, got nan"),
        ({"heat": "hot"}, "heat must be of type float, got 'hot'"),
        ({"heat": True}, "heat must be of type float, got True"),
        ({"heat": None}, "heat must be of type float, got None"),
        ({"light": 1}, "light must be of type bool, got 1"),
        ({"trays": 1}, "trays must be a list, got 1"),
        ({"trays": (1, 0)}, "trays must be at least 1, got 0"),
        ({"trays": (1, 2.5)}, "trays must be of type int, got 2.5"),
        ({"mode": "fan\0"}, "mode holds a NUL character; take it out"),
        ({"mode": "gril"}, "unknown mode 'gril'; did you mean grill?"),
    ],
)
def test_impossible_values_are_refused(values, message):
    with pytest.raises(InfoplaneError, match=message):
        check_settings(Oven(**values))


def test_every_field_of_a_training_is_a_setting():
    assert [*settings_of(TrainingSettings)] == [field.name for field in dataclasses.fields(TrainingSettings)]


def test_estimators_have_the_defaults_and_refuse_what_the_settings_say():
    declared = settings_of(EstimatorOptions)
    taken = set()
    for name in NAMES:
        settings = make_settings(name)
        for field in dataclasses.fields(settings):
            taken.add(field.name)
            if declared.get(field.name, Setting("", "")).default is not None:
                assert str(getattr(settings, field.name)) == str(declared[field.name].default)
    assert taken == {*declared, "target"}
    for name, value, words in (
        ("scope", "fnal", "unknown scope 'fnal'; did you mean final"),
        ("kernel", "tensr", "unknown kernel"),
        ("permutations", 1, "permutations must be at least 2 and at most 10000, got 1"),
    ):
        with pytest.raises(InfoplaneError, match=words):
            make_settings("renyi", **{name: value})
    with pytest.raises(InfoplaneError, match="neighbours must be at least 1, got 0"):
        make_settings("ksg", neighbours=0)
