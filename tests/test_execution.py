import io

import pytest

from infoplane.execution import QUIET, Execution


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
@pytest.mark.parametrize("execution", [QUIET, Execution(progress=True)])
def test_progress_is_seen_on_a_terminal_alone_and_where_it_was_asked_for(monkeypatch, execution, stream):
    text = stream()
    monkeypatch.setattr("sys.stderr", text)
    assert [*execution.bar([3, 1, 2], "layers")] == [3, 1, 2]
    with execution.counter(2, "training", "step") as bar:
        bar.update()
    seen = execution.progress and text.isatty()
    assert ["layers" in text.getvalue(), "training" in text.getvalue()] == [seen, seen]
