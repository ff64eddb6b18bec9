"""Estimation on a Dask cluster: a real scheduler and real workers, each a process, on the loopback interface."""

import contextlib
import os
import shutil
import signal
import socket
import sys
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from clusters import Processes
from conftest import small_net
from processes import wait_for

pytest.importorskip("distributed", reason="needs the extra infoplane[dask]")

from infoplane import Recorder, open_run
from infoplane.errors import InfoplaneError
from infoplane.estimators.batches import Batches
from infoplane.estimators.engine import dask as cluster_module
from infoplane.estimators.engine import estimate as table_module
from infoplane.estimators.engine import store as store_module
from infoplane.estimators.engine.dask import Assignment, connected
from infoplane.estimators.engine.estimate import estimate_run, estimate_runs, estimates_path
from infoplane.estimators.engine.pool import parts_of
from infoplane.estimators.engine.store import StoredTable
from infoplane.estimators.registry import make_settings
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import Execution
from infoplane.kernels import Bandwidth

QUICK = RenyiSettings(permutations=2)
# Tasks so long that there is work left when the first is done.
SLOW = RenyiSettings(permutations=60)
STEPS = range(10)


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Clusters, of which the last may be alive."""
    clusters = []
    yield clusters
    for cluster in clusters:
        cluster.end()


@pytest.fixture
def dask(processes, tmp_path_factory):
    """A cluster with a worker at least."""
    if not processes or processes[-1].scheduler.poll() is not None:
        processes.append(Processes(tmp_path_factory.mktemp("dask")))
        processes[-1].ensure(2)
    processes[-1].ensure(1)
    return processes[-1]


@pytest.fixture(autouse=True)
def _no_scheduler_of_the_environment(monkeypatch):
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)


def make_run(path, probe, steps=STEPS, resume=False):
    net = small_net()
    with Recorder(net, probe, path, keep="activations", resume=resume) as recorder:
        for step in steps:
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter.add_(0.2 * torch.randn_like(parameter))
            recorder.snapshot(step=step, epoch=step / 2, loss=1.0)
    return path


@pytest.fixture
def run_path(tmp_path, probe):
    return make_run(tmp_path / "run.h5", probe)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A run, and its estimates under the slow settings."""
    generator = torch.Generator().manual_seed(1)
    probe = torch.randn(30, 1, 8, 8, generator=generator), torch.arange(30) % 3
    path = make_run(tmp_path_factory.mktemp("slow") / "run.h5", probe)
    return path, on_one_machine(path, SLOW)


@pytest.fixture
def slow_run(slow, tmp_path):
    """A copy of it."""
    return shutil.copy(slow[0], tmp_path / "run.h5"), slow[1]


def on_one_machine(path, *arguments):
    """What `jobs=1` gives, nothing of it left in the table."""
    rows = estimate_run(path, *arguments, execution=Execution(1))
    estimates_path(path).unlink()
    return rows


def on_cluster(dask, path, *arguments):
    [rows] = estimate_runs([path], *arguments, execution=Execution(scheduler=dask.address))
    return rows


def same(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True)


@contextlib.contextmanager
def at_first_result(monkeypatch, act):
    """Stores each row as it comes, and acts once when the first is there."""
    plain, seen = StoredTable.store, []

    def store(self, new):
        stored = plain(self, new)
        seen.append(len(stored))
        if len(seen) == 1:
            act()
        return stored

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "SAVE_SECONDS", 0)
        patch.setattr(StoredTable, "store", store)
        yield seen


@pytest.mark.parametrize(
    ("settings", "batches"),
    [
        ([RenyiSettings(permutations=3), make_settings("kde"), make_settings("binning")], None),
        ([RenyiSettings(bandwidth=Bandwidth.parse("knn:5"), scope="shared", permutations=3)], Batches(3, 9)),
        ([RenyiSettings(bandwidth=Bandwidth.parse("alignment"), scope="final", permutations=3), QUICK], None),
    ],
)
def test_the_table_is_that_of_one_machine(dask, run_path, settings, batches):
    expected = on_one_machine(run_path, settings, batches)
    same(on_cluster(dask, run_path, settings, batches), expected)
    assert dask.tasks() == 0


def test_a_dead_workers_share_is_done_again(dask, slow_run, monkeypatch):
    path, expected = slow_run
    dask.ensure(2)
    at_work = []

    def kill_one():
        at_work.extend(address for address, tasks in dask.client.processing().items() if tasks)
        dask.kill(at_work[0])

    with at_first_result(monkeypatch, kill_one) as seen:
        rows = on_cluster(dask, path, SLOW)
    assert at_work
    assert seen[0] == 1
    same(rows, expected)


def test_only_what_is_new_is_computed(dask, tmp_path, probe):
    path = make_run(tmp_path / "run.h5", probe, range(2))
    first = on_cluster(dask, path, QUICK)
    torch.manual_seed(5)
    make_run(path, probe, [9], resume=True)
    rows = on_cluster(dask, path, QUICK)
    same(rows[rows["step"] < 9], first)
    same(rows, on_one_machine(path, QUICK))


def test_an_interruption_keeps_what_is_done_and_cancels_the_rest(dask, slow_run, infoplane, monkeypatch):
    path, expected = slow_run
    with at_first_result(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGINT)):
        code, _, complaint = infoplane("estimate", path, "--permutations", 60, "--scheduler", dask.address)
    assert (code, complaint.strip()) == (130, "interrupted; what was finished is safe; the same command goes on")
    assert 0 < len(pd.read_csv(estimates_path(path))) < len(expected)
    wait_for(lambda: dask.tasks() == 0)
    same(on_cluster(dask, path, SLOW), expected)


def test_several_runs_from_the_command_line(dask, infoplane, tmp_path, probe):
    paths = [make_run(tmp_path / f"{name}.h5", probe, range(2)) for name in "abc"]
    expected = [on_one_machine(path, RenyiSettings()) for path in paths]
    code, out, complaint = infoplane("estimate", "a.h5", "b.h5", "c.h5", "--scheduler", dask.address)
    assert (code, complaint) == (0, "")
    assert [line for line in out.splitlines() if line.startswith("all")] == [
        f"all 6 rows: {name}.estimates.csv" for name in "abc"
    ]
    for path, rows in zip(paths, expected, strict=True):
        same(estimate_run(path, RenyiSettings(), execution=Execution(1)), rows)


def test_what_fails_on_a_worker_is_said_as_here(dask, tmp_path, probe):
    net = small_net()
    with Recorder(net, probe, tmp_path / "run.h5", keep="distances") as recorder:
        recorder.snapshot(step=0)
    with pytest.raises(InfoplaneError, match="keep='activations'"):
        on_cluster(dask, tmp_path / "run.h5", make_settings("binning"))


def ask_for(cluster, run, work):
    item = (0, run.layers[0].name)
    return [*cluster.each(run, parts_of(run, QUICK, {}, [item], None), work, {item: None}, "test")]


def nothing(*_):
    return None


def death(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_sees_no_file_or_another(dask, tmp_path, probe):
    path = make_run(tmp_path / "run.h5", probe, [0])
    with connected(dask.address) as cluster, open_run(path) as run:
        path.unlink()
        with pytest.raises(InfoplaneError, match=rf"worker tcp://\S+ does not see {path}; .*file system"):
            ask_for(cluster, run, nothing)
        make_run(path, probe, [0])
        with pytest.raises(InfoplaneError, match=rf"worker tcp://\S+ sees another file at {path}"):
            ask_for(cluster, run, nothing)


def test_workers_of_another_version_are_refused(dask, run_path, tmp_path):
    other = tmp_path / "other" / "infoplane"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text('__version__ = "9.9"\n')
    [address] = dask.start_workers(1, path=other.parent)
    try:
        with pytest.raises(InfoplaneError, match=rf"worker {address} has infoplane 9\.9, this machine has"):
            on_cluster(dask, run_path, QUICK)
    finally:
        dask.kill(address)
    assert not estimates_path(run_path).exists()


def test_a_worker_that_comes_later_checks_its_version_itself(run_path):
    with open_run(run_path) as run:
        assignment = Assignment.of(run, parts_of(run, QUICK, {}, [], None))
    with pytest.raises(InfoplaneError, match=r"worker there has infoplane \S+, this machine has 9\.9"):
        cluster_module._open_assigned(replace(assignment, version="9.9"), "worker there")


def one_line(answer, *words):
    code, _, complaint = answer
    assert code == 1
    assert len(complaint.splitlines()) == 1, complaint
    for word in words:
        assert word in complaint


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "tcp://127.0.0.1", "ftp://127.0.0.1:1"])
def test_no_scheduler(infoplane, run_path, address, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
    one_line(infoplane("estimate", run_path, "--scheduler", address), "no Dask scheduler answers", address)


def test_a_scheduler_that_accepts_and_never_answers(infoplane, run_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        one_line(infoplane("estimate", run_path, "--scheduler", address), "no Dask scheduler answers", address)


def test_a_scheduler_and_jobs_exclude_each_other(infoplane, run_path, monkeypatch):
    code, _, complaint = infoplane("estimate", run_path, "--scheduler", "tcp://127.0.0.1:1", "--jobs", "2")
    assert code == 2
    assert "--jobs is for this machine" in complaint
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:1")
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
    one_line(infoplane("estimate", run_path), "no Dask scheduler answers")
    assert infoplane("estimate", run_path, "--jobs", "2")[0] == 0


def test_without_dask(infoplane, run_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "infoplane.estimators.engine.dask")
    answer = infoplane("estimate", run_path, "--scheduler", "tcp://127.0.0.1:1")
    one_line(answer, 'pip install "infoplane[dask]"')


def test_a_deadly_task_ends_in_one_line(dask, run_path, caplog):
    dask.give_up_after(len(dask.known()))
    with (
        connected(dask.address) as cluster,
        open_run(run_path) as run,
        pytest.raises(InfoplaneError, match=r"layer '3' at step 0 of \S+ killed every worker"),
    ):
        ask_for(cluster, run, death)
    dask.give_up_after(4)
    assert not dask.known()
    with connected(dask.address):
        assert "has no workers" in caplog.text


def test_a_scheduler_that_stops_answering(dask, slow_run, monkeypatch):
    path, expected = slow_run
    monkeypatch.setattr(cluster_module, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(table_module, "WATCH_SECONDS", 0.1)
    try:
        with (
            at_first_result(monkeypatch, lambda: dask.scheduler.send_signal(signal.SIGSTOP)),
            pytest.raises(InfoplaneError, match=r"scheduler at tcp://\S+, or one of its workers, has not answered"),
        ):
            on_cluster(dask, path, SLOW)
    finally:
        dask.scheduler.send_signal(signal.SIGCONT)
    assert 0 < len(pd.read_csv(estimates_path(path))) < len(expected)
    same(estimate_run(path, SLOW, execution=Execution(1)), expected)


def test_a_result_that_is_never_handed_out_is_given_up_with_the_work():
    cluster = cluster_module.Cluster(SimpleNamespace(status="closed"), "tcp://10.0.0.1:8786", Execution())
    asked = []

    def result(timeout):
        asked.append(timeout)
        if len(asked) == 3:
            cluster.stop()
        raise TimeoutError

    with pytest.raises(InfoplaneError, match=r"tcp://10\.0\.0\.1:8786 was lost or gave the work up"):
        cluster._fetched(SimpleNamespace(result=result, status="finished"))
    assert asked == [cluster_module.FETCH_SECONDS] * 3


def test_a_lost_scheduler(dask, slow_run, monkeypatch):
    path, expected = slow_run
    with (
        at_first_result(monkeypatch, dask.scheduler.kill),
        pytest.raises(InfoplaneError, match=r"scheduler at tcp://\S+ was lost"),
    ):
        on_cluster(dask, path, SLOW)
    assert 0 < len(pd.read_csv(estimates_path(path))) < len(expected)
    same(estimate_run(path, SLOW, execution=Execution(1)), expected)
