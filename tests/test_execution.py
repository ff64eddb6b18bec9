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
    with execution.counter(2, "training", "step") as counter:
        counter.update()
        counter.note("loss 0.5")
    seen = execution.progress and text.isatty()
    assert [word in text.getvalue() for word in ("layers", "training", "loss 0.5")] == [seen] * 3


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
@pytest.mark.parametrize("execution", [QUIET, Execution(progress=True)])
def test_elsewhere_a_counter_prints_lines(monkeypatch, execution, stream):
    text = stream()
    monkeypatch.setattr("sys.stderr", text)
    with execution.counter(3, "training", "step", initial=1) as counter:
        for loss in (0.5, 0.25):
            counter.update()
            counter.note(f"loss {loss}")
            counter.line()
        counter.line("epoch 7")
    lines = [line for line in text.getvalue().splitlines() if line.startswith("training: ") and "%" not in line]
    assert bool(lines) == (execution.progress and not text.isatty())
    if lines:
        assert lines[0].startswith("training: 2 of 3; loss 0.5; ")
        assert lines[0].endswith(" left")
        assert lines[1:] == ["training: 3 of 3; loss 0.25; done", "training: epoch 7; loss 0.25; done"]
