import pytest

from infoplane.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("I(X;T) → α σ 93.10 ± 0.25\n\tlog₂ n", "I(X;T) → α σ 93.10 ± 0.25\n\tlog₂ n"),
        ("\x1b]0;title\x07\x1b[2J", "\\x1b]0;title\\x07\\x1b[2J"),
        ("a\rb\x08\x7f\x9b31m", "a\\rb\\x08\\x7f\\x9b31m"),
        ("\u202egnp.h5", "\\u202egnp.h5"),
        ("run\udcff.h5\u2028", "run\\udcff.h5\\u2028"),
    ],
)
def test_nothing_steers_the_terminal(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown
