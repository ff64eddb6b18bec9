import math

from infoplane.runfile.summary import plain_table


def test_a_table_has_words_to_the_left_and_numbers_to_the_right():
    rows = [
        {"layer": "conv1", "features": 1024, "I_TY": 1.44467, "note": ""},
        {"layer": "fc", "features": 10, "I_TY": math.nan, "note": "constant"},
    ]
    assert plain_table(rows).splitlines() == [
        "layer features   I_TY note    ",
        "conv1     1024 1.4447         ",
        "fc          10    NaN constant",
    ]
