"""A Dask cluster for tests: a scheduler and workers, each a process, on the loopback interface."""

import os
import subprocess
import sys
from pathlib import Path

from processes import wait_for

TESTS = Path(__file__).parent


class Processes:
    """A scheduler, and workers by their addresses."""

    def __init__(self, folder):
        import distributed

        self.folder, self.workers, self.started = folder, {}, []
        paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
        self.environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        file = folder / "scheduler.json"
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        self.scheduler = self.start("dask_scheduler", *options)
        wait_for(lambda: file.exists() and file.stat().st_size)
        self.client = distributed.Client(scheduler_file=str(file), set_as_default=False)
        self.address = self.client.scheduler.address

    def start(self, name, *arguments, path=""):
        paths = os.pathsep.join(filter(None, [str(path), self.environment["PYTHONPATH"]]))
        command = [sys.executable, "-m", f"distributed.cli.{name}", *arguments]
        with (self.folder / f"{len(self.started)}-{name}.log").open("w") as log:
            process = subprocess.Popen(
                command, env={**self.environment, "PYTHONPATH": paths}, cwd=self.folder, stdout=log, stderr=log
            )
        self.started.append(process)
        return process

    def start_workers(self, count, **how):
        """Starts workers of one thread each, without a nanny that would start them again; gives their addresses."""
        before = {*self.known()}
        options = ("--host", "127.0.0.1", "--no-nanny", "--nthreads", "1", "--no-dashboard")
        processes = [self.start("dask_worker", self.address, *options, **how) for _ in range(count)]
        wait_for(lambda: len(self.known()) == len(before) + count)
        pids = {pid: address for address, pid in self.client.run(os.getpid).items()}
        self.workers.update({pids[process.pid]: process for process in processes})
        return [pids[process.pid] for process in processes]

    def ensure(self, count):
        self.start_workers(max(0, count - len(self.known())))

    def known(self):
        return self.client.scheduler_info()["workers"]

    def kill(self, address):
        self.workers[address].kill()
        wait_for(lambda: address not in self.known())

    def give_up_after(self, deaths):
        def allow(dask_scheduler):
            dask_scheduler.allowed_failures = deaths - 1

        self.client.run_on_scheduler(allow)

    def tasks(self):
        return self.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))

    def end(self):
        self.client.close()
        for process in self.started:
            process.kill()
            process.wait()
