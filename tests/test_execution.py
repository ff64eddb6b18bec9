import io
import sys
from types import SimpleNamespace

import pytest

from infoplane import execution as module
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


@pytest.mark.parametrize("execution", [QUIET, Execution(progress=True)])
def test_a_batch_job_gets_a_line_from_time_to_time_of_what_has_no_epochs(monkeypatch, execution):
    text = io.StringIO()
    monkeypatch.setattr("sys.stderr", text)
    assert [*execution.bar([3, 1, 2], "layers")] == [3, 1, 2]
    assert not text.getvalue()
    monkeypatch.setattr(module, "BETWEEN_LINES", 0.0)
    assert [*execution.bar(iter([3, 1, 2]), "layers", 3)] == [3, 1, 2]
    lines = text.getvalue().splitlines()
    assert len(lines) == 3 * execution.progress
    if lines:
        assert lines[0].startswith("layers: 1 of 3; ")
        assert lines[-1] == "layers: 3 of 3; done"


def test_a_notebook_gets_bars(monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr("sys.stderr", text)
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    with Execution(progress=True).counter(2, "training", "step") as counter:
        counter.note("a long sentence", "loss 0.5")
        counter.update()
        counter.line()
    assert "loss 0.5" in text.getvalue()
    assert "sentence" not in text.getvalue()
