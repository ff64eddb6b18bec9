"""`infoplane compare`: variants, what is trained and what is kept, tuning, several trainings at once."""

import dataclasses
import itertools
import multiprocessing
import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import pandas as pd
import pytest
from clusters import Processes
from planted import planted_run
from processes import assert_stops, is_gone, leader, wait_for

import infoplane as ip
from infoplane import open_run
from infoplane.analysis.comparison.results import compared_runs
from infoplane.analysis.gather import gather
from infoplane.cli.analyze import _control
from infoplane.errors import InfoplaneError
from infoplane.estimators.renyi import RenyiSettings
from infoplane.execution import Execution
from infoplane.runfile import synchronous_path_of
from infoplane.trainers import jobs as compare
from infoplane.trainers.jobs import TUNING_SEED, plan, run_jobs, tuned, variant, variants_of
from infoplane.trainers.loop import Loop
from infoplane.trainers.session import record
from infoplane.trainers.settings import TrainingSettings

TINY = {"model": "mlp", "widths": (8,), "epochs": 1, "snapshots": "2", "probe_size": 20, "train_size": 200}
TINY |= {"batch_size": 100, "eval_size": 50}
ARGUMENTS = ["--model", "mlp", "--widths", "8", "--epochs", "1", "--snapshots", "2", "--probe-size", "20"]
ARGUMENTS += ["--train-size", "200", "--batch-size", "100", "--eval-size", "50"]


def settings(**changes):
    return TrainingSettings(**{**TINY, **changes})


def accuracies(folder):
    found = {}
    for path in sorted(folder.glob("*/*.h5")):
        with open_run(path) as run:
            found[f"{path.parent.name}/{path.stem}"] = run.results["test_accuracy"]
    return found


def test_variants_take_what_their_method_has():
    shared = {**TINY, "aux": "linear", "beta": (0.1,), "order": "sequential", "lr": 0.2, "blocks": 2}
    found = {name: variant(name, shared, {})[name] for name in ("sgd", "greedy-ce", "greedy-dib")}
    assert (found["sgd"].aux, found["sgd"].order, found["sgd"].beta, found["sgd"].blocks) == (None,) * 4
    assert (found["greedy-ce"].aux, found["greedy-ce"].beta) == ("linear", None)
    assert (found["greedy-dib"].beta, found["greedy-dib"].order) == ((0.1,), "sequential")
    assert all(one.lr == 0.2 for one in found.values())
    for one in found.values():
        one.resolved()


def test_a_variant_has_its_own_name_and_settings():
    found = variant("wide", {**TINY, "lr": 0.2}, {"method": "sgd", "lr": 0.4, "widths": [32, 16]})
    assert list(found) == ["wide"]
    assert (found["wide"].method, found["wide"].lr, found["wide"].widths) == ("sgd", 0.4, (32, 16))


def test_several_betas_make_a_variant_each():
    found = variant("greedy-dib", {**TINY, "beta": (0.0, 1e-4, 1.0)}, {})
    assert {name: one.beta for name, one in found.items()} == {
        "greedy-dib-beta0": (0.0,),
        "greedy-dib-beta0.0001": (1e-4,),
        "greedy-dib-beta1": (1.0,),
    }
    assert variant("x", TINY, {"method": "greedy-dib", "beta": 0.5})["x"].beta == (0.5,)


def test_batch_and_schedule_are_alike_unless_given():
    methods = {"sgd": settings(batch_size=None), "hsic": settings(method="hsic", batch_size=32, schedule="cosine")}
    found = compare.alike(methods)
    assert (found["sgd"].batch_size, found["sgd"].schedule) == (128, "onecycle")
    assert found["hsic"] == methods["hsic"]


def test_untuned_rates_are_warned_of(caplog):
    compare.warn_of_untuned({"sgd": settings(), "greedy-ce": settings(method="greedy-ce", lr=0.1)})
    assert "learning rates of sgd are the published ones, not tuned" in caplog.text
    caplog.clear()
    compare.warn_of_untuned({"sgd": settings()})
    compare.warn_of_untuned({name: settings(method=name, lr=0.1) for name in ("sgd", "greedy-ce")})
    assert not caplog.text


def test_what_is_no_variant():
    with pytest.raises(InfoplaneError, match="did you mean greedy-dib"):
        variant("greedy-dip", {}, {})
    with pytest.raises(InfoplaneError, match=r"setting of 'sgd'.*did you mean lr"):
        variant("sgd", {}, {"lrr": 1})
    with pytest.raises(InfoplaneError, match="leave out its seed"):
        variant("sgd", {}, {"seed": 3})
    for name in ("a/b", "..", "", ".hidden", "tuning", "a\0"):
        with pytest.raises(InfoplaneError, match="without slashes"):
            plan({name: settings()}, [0], Path())
    with pytest.raises(InfoplaneError, match="lr must be positive"):
        plan({"sgd": settings(lr=-1)}, [0], Path())


def test_seeds_come_in_turn_and_are_the_same_for_all():
    jobs = plan({"sgd": settings(), "greedy-ce": settings(method="greedy-ce")}, range(2), Path("d"))
    assert [(job.variant, job.settings.seed) for job in jobs] == [
        ("sgd", 0), ("greedy-ce", 0), ("sgd", 1), ("greedy-ce", 1),
    ]  # fmt: skip
    assert jobs[3].path == Path("d/greedy-ce/seed1.h5")


def test_what_is_trained_is_kept(tmp_path, monkeypatch):
    jobs = plan({"sgd": settings()}, range(2), tmp_path)
    run_jobs(jobs[:1])
    before = jobs[0].path.read_bytes()
    trained = []
    monkeypatch.setattr(compare, "record", lambda one, path: trained.append(path) or record(one, path))
    run_jobs(jobs)
    assert trained == [jobs[1].path]
    assert jobs[0].path.read_bytes() == before


def test_what_is_unfinished_goes_on_to_the_same_result(tmp_path, monkeypatch):
    sizes = {"batch_size": 20, "epochs": 2}
    whole = plan({"sgd": settings(**sizes)}, [0], tmp_path / "whole")
    run_jobs(whole)
    jobs = plan({"sgd": settings(**sizes)}, [0], tmp_path / "cut")
    step = Loop._timed_step

    def stop(loop, indices):
        step(loop, indices)
        if loop.step == 12:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_timed_step", stop)
        with pytest.raises(KeyboardInterrupt):
            run_jobs(jobs)
    with open_run(jobs[0].path) as run:
        assert not run.results
    run_jobs(jobs)
    assert accuracies(tmp_path / "cut") == accuracies(tmp_path / "whole")


def test_runs_of_other_settings_are_refused(tmp_path):
    run_jobs(plan({"sgd": settings()}, [0], tmp_path))
    with pytest.raises(InfoplaneError, match=r"recorded with another lr \(0\.05, now 0\.5\)"):
        run_jobs(plan({"sgd": settings(lr=0.5)}, [0], tmp_path))
    # Where the data are is no setting.
    run_jobs(plan({"sgd": settings(data_root="elsewhere")}, [0], tmp_path))


def test_a_failure_does_not_stop_the_others(tmp_path):
    fails = settings(model="lenet5", widths=None)
    with pytest.raises(InfoplaneError, match=r"1 of 2 runs failed; the first: .*lenet5"):
        run_jobs(plan({"bad": fails, "sgd": settings()}, [0], tmp_path))
    assert list(accuracies(tmp_path)) == ["sgd/seed0"]


def test_a_full_disk_is_spoken_of_in_the_words_of_a_comparison(tmp_path, monkeypatch):
    free = itertools.chain(itertools.repeat(2**30, 8), itertools.repeat(1000))
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, next(free)))
    with pytest.raises(InfoplaneError, match="free some space, then give the same command again, which goes on"):
        run_jobs(plan({"sgd": settings()}, [0], tmp_path))
    monkeypatch.undo()
    run_jobs(plan({"sgd": settings()}, [0], tmp_path))
    assert list(accuracies(tmp_path)) == ["sgd/seed0"]


def test_a_folder_that_cannot_be_made_is_named_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "record", lambda *_: pytest.fail("was trained"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InfoplaneError, match="file is no folder; give another place"):
        run_jobs(plan({"sgd": settings()}, [0, 1], tmp_path / "file"))


def test_two_at_once_give_what_one_after_the_other_gives(tmp_path):
    variants = {"sgd": settings(), "greedy-ce": settings(method="greedy-ce", aux="linear")}
    for processes in (1, 2):
        run_jobs(plan(variants, range(1), tmp_path / str(processes)), Execution(processes))
    one, two = (accuracies(tmp_path / str(processes)) for processes in (1, 2))
    assert len(one) == 2
    assert one == two


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    pytest.importorskip("distributed", reason="needs the extra infoplane[dask]")
    processes = Processes(tmp_path_factory.mktemp("cluster"))
    yield processes
    processes.end()


def test_a_killed_workers_run_goes_on_elsewhere_to_the_same_numbers(infoplane, cluster, tmp_path):
    variants = {
        "sgd": settings(epochs=80, batch_size=20, widths=(64, 64)),
        "greedy-ce": settings(epochs=80, batch_size=20, widths=(64, 64), method="greedy-ce", aux="linear"),
    }
    alone, shared = (plan(variants, [0], tmp_path / name) for name in ("alone", "shared"))
    run_jobs(alone)
    first, _ = cluster.start_workers(2)
    done = []
    with ThreadPoolExecutor(1) as thread:
        trained = thread.submit(run_jobs, shared, Execution(scheduler=cluster.address), done.append)
        wait_for(lambda: all(job.path.with_suffix(".ckpt").exists() for job in shared))
        cluster.kill(first)
        assert not done
        trained.result(timeout=200)
    assert {job.path for job in done} == {job.path for job in shared}
    assert accuracies(tmp_path / "shared") == accuracies(tmp_path / "alone")
    for one, other in zip(alone, shared, strict=True):
        with open_run(one.path) as left, open_run(other.path) as right:
            assert left.results["test_loss"] == right.results["test_loss"]
            assert [s.step for s in left.snapshots] == [s.step for s in right.snapshots]
    # Nothing that was made for the cluster stays.
    assert not list((tmp_path / "shared").rglob(".shared-*"))


def test_the_verb_trains_on_a_cluster(infoplane, cluster, tmp_path):
    cluster.ensure(1)
    arguments = ["compare", *ARGUMENTS, "--methods", "sgd", "--lr", 0.1, "--seeds", 2]
    code, _, complaint = infoplane(*arguments, "--scheduler", cluster.address, "-o", "shared")
    assert code == 0, complaint
    assert infoplane(*arguments, "-o", "alone")[0] == 0
    assert accuracies(tmp_path / "shared") == accuracies(tmp_path / "alone")
    assert len(pd.read_csv(tmp_path / "shared" / "results.csv")) == 2


def test_a_stop_reaches_the_workers(cluster, tmp_path):
    cluster.ensure(1)
    long = [*ARGUMENTS, "--epochs", "100000", "--methods", "sgd", "--seeds", "2", "--quiet", "-o", str(tmp_path)]
    command = [sys.executable, "-m", "infoplane", "compare", *long, "--scheduler", cluster.address]
    assert_stops(command, lambda: list(tmp_path.glob("sgd/*.ckpt")))
    # The worker gives the run back.
    [path] = tmp_path.glob("sgd/*.ckpt")
    wait_for(lambda: not open_run(path.with_suffix(".h5")).left_open)
    wait_for(lambda: not cluster.tasks())


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path):
    [job] = plan({"sgd": settings()}, [0], tmp_path)
    assert "run files must lie on a file system that all workers share" in compare.train_here(job, "token")


@pytest.fixture
def trials(monkeypatch):
    """Trials are planted: the larger the learning rate, the better in validation and the worse in test."""
    jobs = []

    def plant(wanted, execution):
        for job in wanted:
            jobs.append(job)
            lr = job.settings.lr
            own = {
                k: v for k, v in dataclasses.asdict(job.settings).items() if k not in ("method", "seed", "epochs")
            }
            planted_run(job.path, 1 - lr, curve=[0.1, lr], method=job.settings.method, **own)

    monkeypatch.setattr(compare, "run_jobs", plant)
    return jobs


def test_tuning_looks_at_validation_accuracy_only(tmp_path, trials):
    variants = {"sgd": settings(validation=0.2), "greedy-ce": settings(method="greedy-ce", validation=0.2)}
    found = tuned(variants, [1, 3, 0.5], tmp_path)
    assert {name: one.lr for name, one in found.items()} == pytest.approx({"sgd": 0.15, "greedy-ce": 0.3})
    assert len(trials) == 6
    # Of a seed and in a place that no comparison takes for its own.
    assert {job.settings.seed for job in trials} == {TUNING_SEED}
    assert not list(tmp_path.glob("*/*.h5"))
    # Nothing but the learning rate is chosen.
    assert dataclasses.replace(found["sgd"], lr=None) == variants["sgd"]


def test_tuning_passes_over_what_diverged(tmp_path, trials, monkeypatch):
    # Where outputs are no numbers, the first class is said, which may be most of the samples.
    values = {0.05: (0.4, 1.0), 0.15: (0.9, float("nan"))}

    def plant(wanted, execution):
        for job in wanted:
            accuracy, loss = values[round(job.settings.lr, 3)]
            planted_run(job.path, accuracy, method="sgd", validation=0.2, loss=loss)

    monkeypatch.setattr(compare, "run_jobs", plant)
    assert tuned({"sgd": settings(validation=0.2)}, [3, 1], tmp_path)["sgd"].lr == pytest.approx(0.05)


def test_blocks_that_all_share_are_those_of_gradient_checkpointing_too():
    shared = {"blocks": 2, "group": "memory", "option": ["similarity_weight=0.5"]}
    found = {name: variant(name, shared, {})[name] for name in ("sgd", "sgd-checkpoint", "predsim")}
    assert [(one.blocks, one.group) for one in found.values()] == [(None, None), (2, "memory"), (2, "memory")]


def test_a_shared_option_is_for_the_methods_that_have_it():
    names = {name: {} for name in ("sgd", "greedy-ce", "predsim", "hsic")}
    found = variants_of({"option": ["similarity_weight=0.5"]}, names)
    assert [one.option for one in found.values()] == [(), (), ("similarity_weight=0.5",), ()]
    with pytest.raises(InfoplaneError, match="did you mean similarity_weight"):
        variants_of({"option": ["similarity_wieght=0.5"]}, names)
    with pytest.raises(InfoplaneError, match="none of the methods has an option 'sigma'"):
        variants_of({"option": ["sigma=5"]}, {"sgd": {}})


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf")])
def test_no_training_is_begun_for_a_factor_that_cannot_be(tmp_path, factor):
    with pytest.raises(InfoplaneError, match="give factors above 0"):
        tuned({"sgd": settings(validation=0.2)}, [1, factor], tmp_path)
    assert not [*tmp_path.iterdir()]


def test_tuning_needs_a_validation_split(tmp_path):
    with pytest.raises(InfoplaneError, match="never the test split; give `validation"):
        tuned({"sgd": settings()}, [1, 3], tmp_path)


def test_the_verb_trains_and_tabulates(infoplane, tmp_path):
    code, out, complaint = infoplane("compare", *ARGUMENTS, "--methods", "sgd,greedy-ce", "--seeds", 2, "-o", "c")
    assert code == 0, complaint
    made = {path.name for path in (tmp_path / "c").glob("*.*") if not path.name.startswith(".")}
    assert made == {
        "results.csv", *(f"{name}.{end}" for name in ("comparison", "measures") for end in ("csv", "md", "tex")),
    }  # fmt: skip
    table = pd.read_csv(tmp_path / "c" / "comparison.csv")
    assert table["variant"].tolist() == ["sgd", "greedy-ce"]
    assert table["seeds"].tolist() == [2, 2]
    means = pd.Series(accuracies(tmp_path / "c")).groupby(lambda name: name.partition("/")[0]).mean()
    assert table["test_accuracy"].tolist() == pytest.approx([means["sgd"], means["greedy-ce"]])
    assert "gap to sgd [points]" in out
    assert "infoplane plot c" in out
    # Once more, with another reference: nothing is trained.
    before = {path: path.read_bytes() for path in (tmp_path / "c").glob("*/*.h5")}
    arguments = ["compare", *ARGUMENTS, "--methods", "sgd,greedy-ce", "--seeds", 2, "-o", "c"]
    code, out, _ = infoplane(*arguments, "--reference", "greedy-ce")
    assert code == 0
    assert "gap to greedy-ce [points]" in out
    assert before == {path: path.read_bytes() for path in (tmp_path / "c").glob("*/*.h5")}


def test_synchronous_paths_come_afterwards_and_are_no_runs(infoplane, tmp_path):
    arguments = ["compare", *ARGUMENTS, "--methods", "sgd", "--seeds", 2, "-o", "c"]
    _, plain, _ = infoplane(*arguments)
    weights = {path: path.read_bytes() for path in (tmp_path / "c").glob("*/*.ckpt")}
    code, out, complaint = infoplane(*arguments, "--synchronous-path")
    assert code == 0, complaint
    assert out.count("\n") == plain.count("\n")
    assert weights == {path: path.read_bytes() for path in (tmp_path / "c").glob("*/*.ckpt")}
    runs, files = (
        [tmp_path / "c" / "sgd" / f"seed{seed}.h5" for seed in (0, 1)],
        sorted(tmp_path.glob("c/sgd/*.h5")),
    )
    assert files == sorted([*runs, *map(synchronous_path_of, runs)])
    assert compared_runs(tmp_path / "c") == runs
    before = [path.read_bytes() for path in files]
    infoplane(*arguments)
    infoplane(*arguments, "--synchronous-path")
    assert before == [path.read_bytes() for path in files]
    # What a pattern of the shell gives: the runs are drawn. Paths alone are drawn as paths.
    code, out, complaint = infoplane("plot", *files, "-o", tmp_path)
    assert code == 0, complaint
    assert "seed0-and-1-more-plane.png" in out
    code, out, complaint = infoplane("plot", *map(synchronous_path_of, runs), "-o", tmp_path)
    assert code == 0, complaint
    assert "seed0.synchronous-and-1-more-plane.png" in out
    with pytest.raises(InfoplaneError, match=r"differs from .* in trajectory; only seeds are averaged"):
        gather(files, RenyiSettings())
    assert _control(f"x={tmp_path}/c/sgd/*.h5") == ("x", runs)


def test_variants_from_a_file_with_tables(infoplane, tmp_path):
    Path("c.toml").write_text(
        'model = "mlp"\nwidths = [8]\nepochs = 1\nsnapshots = "2"\nprobe-size = 20\ntrain-size = 200\nseeds = 1\n'
        'lr = 0.2\n[plain]\nmethod = "sgd"\n[narrow]\nmethod = "greedy-ce"\naux = "linear"\norder = "sequential"\n'
        'lr = 0.1\n[dib]\nmethod = "greedy-dib"\nbeta = [0.0, 0.5]\nloss-every = 2\n'
    )
    code, out, complaint = infoplane("compare", "--config", "c.toml", "--epochs", 2, "-o", "c")
    assert code == 0, complaint
    assert "gap to plain [points]" in out
    configs = {}
    for path in (tmp_path / "c").glob("*/*.h5"):
        with open_run(path) as run:
            configs[path.parent.name] = run.config
    assert set(configs) == {"plain", "narrow", "dib-beta0", "dib-beta0.5"}
    assert {name: config["lr"] for name, config in configs.items()}["narrow"] == 0.1
    assert configs["plain"]["lr"] == configs["dib-beta0"]["lr"] == 0.2
    assert (configs["narrow"]["order"], configs["narrow"]["aux"]) == ("sequential", "linear")
    assert configs["dib-beta0.5"]["loss_every"] == 2
    assert all(config["epochs"] == 2 for config in configs.values())


def test_what_is_no_comparison_is_refused_before_it_is_trained(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(compare, "record", lambda *given: calls.append(given))
    sgd, dib = settings(), settings(method="greedy-dib")
    smaller = dataclasses.replace(dib, train_size=100)
    with pytest.raises(
        InfoplaneError, match=r"dib/seed0.h5 differs from .*sgd/seed0.h5 in train_size \(100, there 200\), so"
    ):
        ip.compare({"sgd": sgd, "dib": smaller}, tmp_path / "c", seeds=2)
    smaller = dataclasses.replace(smaller, validation=0.1)
    with pytest.raises(InfoplaneError, match=r"in train_size \(.*\), validation \(0.1, there 0.0\)"):
        ip.compare({"sgd": sgd, "dib": smaller}, tmp_path / "c", tune_lr=(1, 2), seeds=2)
    # Shuffled labels are a control, which may have fewer samples.
    record(settings(train_size=100, permute_labels=1.0), made(tmp_path / "c" / "shuffled" / "seed0.h5"))
    record(settings(probe_size=30), made(tmp_path / "c" / "other" / "seed0.h5"))
    with pytest.raises(InfoplaneError, match=r"other/seed0.h5 differs from .*dib/seed0.h5 in probe_size"):
        ip.compare({"dib": dib}, tmp_path / "c", seeds=2)
    assert not calls


def made(path):
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize(
    ("text", "word"),
    [('[a]\nmethod = "sdg"', "did you mean sgd"), ("[sgd]\nlrr = 1", "did you mean lr"), ("epoch = 1", "epoch")],
)
def test_bad_files(infoplane, text, word):
    Path("c.toml").write_text(text)
    code, _, complaint = infoplane("compare", "--config", "c.toml")
    assert code == 1
    assert word in complaint
    assert "Traceback" not in complaint


def test_methods_beside_the_tables_of_a_file_are_refused(infoplane):
    Path("c.toml").write_text("[sgd]\n")
    code, _, complaint = infoplane("compare", "--config", "c.toml", "--methods", "sgd,greedy-ce")
    assert code == 2
    assert "--config names the variants in its tables; leave out --methods" in complaint


def test_processes_end_with_a_killed_parent(tmp_path):
    """They would go on training on their own, unseen."""
    long = [*ARGUMENTS, "--epochs", "5000", "--methods", "sgd", "--seeds", "2", "--jobs", "2", "--quiet"]
    with leader([sys.executable, "-m", "infoplane", "compare", *long, "-o", str(tmp_path)]) as process:
        wait_for(lambda: len(list(tmp_path.glob("sgd/*.ckpt"))) == 2)
        process.kill()
        process.wait()
        wait_for(lambda: is_gone(process), 10)
    with filelock.FileLock(tmp_path / "sgd" / ".seed0.h5.lock", timeout=0):
        pass


def test_a_killed_process_is_spoken_of_and_the_other_runs_are_trained(tmp_path):
    long, short = settings(epochs=100_000), settings()
    trainings = plan({"long": long}, [0], tmp_path) + plan({"short": short}, [0, 1], tmp_path)
    with ThreadPoolExecutor(1) as thread:
        trained = thread.submit(run_jobs, trainings, Execution(2))
        wait_for(trainings[0].path.with_suffix(".ckpt").exists)
        wait_for(lambda: trained.done() or len(multiprocessing.active_children()) == 1)
        [process] = multiprocessing.active_children()
        process.kill()
        with pytest.raises(
            InfoplaneError, match=r"1 of 3 runs failed; the first: .*long/seed0.h5: its process was"
        ):
            trained.result()
    assert all(compare._is_finished(job) for job in trainings[1:])
    with open_run(trainings[0].path) as run:
        assert len(run.snapshots) == 1
