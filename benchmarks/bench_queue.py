"""Tiny jobs beside other schedulers' tiny tasks: what one costs, once everything has started.

Ours: JOBS jobs on two executors, one job a lease, each in a process of its own forked for it, every event of it synced;
the real log, decider, promoter, read model and fleet. The job reads nothing and gives no rows, as their tasks do
nothing. Theirs: TASKS tasks, in process and kept nowhere (Dagster), a shell each on two cores (Snakemake), with a local
server until its SQLite has them (Prefect). What a run of one task costs is taken off theirs; the sentinel is warm.

CASPARIAN_BENCH_PEERS names the Python in which they are installed; they need not be in ours. CASPARIAN_BENCH_JOBS says
how many jobs are a round (10,000).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from msgspec import Struct

from benchmarks.bench_job import ALONE, WORKERS, Jobs, scratch, warm, written
from benchmarks.pairs import Absent, Ratio, ratio_of, timed

ROUNDS: Final = 3
JOBS: Final = int(os.environ.get("CASPARIAN_BENCH_JOBS", "10000"))
TASKS: Final = 200
PEER_SECONDS_MAX: Final = 300
PYTHON: Final = os.environ.get("CASPARIAN_BENCH_PEERS", sys.executable)

# Says that it found nothing, which is not the same as saying nothing.
PARSER_OF_NOTHING: Final = """
outputs = {"rows": {"columns": [{"name": "n", "type": "int64"}]}}


def parse(path, settings):
    yield from ()
    return {"unit": "lines", "output": "rows", "found": 0}
"""

# Each prints the seconds that a task costs beside others.
PER_TASK: Final = """
import sys
from time import perf_counter


def seconds(tasks):
    begun = perf_counter()
    work(tasks)
    return perf_counter() - begun


tasks = int(sys.argv[1])
seconds(1)
least = seconds(1)
print((seconds(tasks) - least) / (tasks - 1))
"""
DAGSTER: Final = """
from dagster import job, op

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def work(tasks):
    ops = [op(name=f"one_{number}")(lambda: None) for number in range(tasks)]

    @job(name=f"of_{tasks}")
    def every():
        for each in ops:
            each()

    assert every.execute_in_process(run_config=QUIET).success
"""
SNAKEMAKE: Final = """
import subprocess
import tempfile
from pathlib import Path

RULES = '''
rule all:
    input: expand("{n}.out", n=range(TASKS))
rule one:
    output: "{n}.out"
    shell: "true > {output}"
'''


def work(tasks):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Snakefile").write_text(RULES.replace("TASKS", str(tasks)))
        snakemake = Path(sys.executable).with_name("snakemake")
        subprocess.run([snakemake, "-c2", "-q", "all"], cwd=folder, check=True)
"""
PREFECT: Final = """
import atexit
import os
import socket
import sqlite3
import subprocess
import time
from urllib.error import URLError
from urllib.request import urlopen

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
server = subprocess.Popen([sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"])
atexit.register(server.kill)
for _ in range(600):
    try:
        urlopen(os.environ["PREFECT_API_URL"] + "/health").close()
        break
    except URLError:
        time.sleep(0.1)

from prefect import flow, task


@task
def one():
    return None


@flow
def every(tasks):
    for _ in range(tasks):
        one()


def recorded():
    with sqlite3.connect(os.environ["PREFECT_HOME"] + "/prefect.db") as base:
        return base.execute("select count(*) from task_run where state_type = 'COMPLETED'").fetchone()[0]


def work(tasks):
    before = recorded()
    every(tasks)
    while recorded() < before + tasks:
        time.sleep(0.01)
"""


class Peer(Struct, frozen=True, kw_only=True):
    """Another scheduler: the module that it is, what is asked of it, and how often as fast ours should be."""

    name: str
    module: str
    work: str
    bar: float


PEERS: Final = (
    Peer(name="Dagster in process", module="dagster", work=DAGSTER, bar=3.0),
    Peer(name="Snakemake", module="snakemake", work=SNAKEMAKE, bar=6.0),
    Peer(name="Prefect", module="prefect", work=PREFECT, bar=10.0),
)


def run() -> Iterator[Ratio | Absent]:
    """Measure JOBS tiny jobs a round against TASKS tasks of each scheduler that is there."""
    here = [peer for peer in PEERS if _is_there(peer)]
    yield from (Absent(name=f"a tiny job / a task of {peer.name}") for peer in PEERS if peer not in here)
    if not here:
        return
    with _tiny_jobs() as jobs:
        rounds = [(timed(jobs.work) / JOBS, [_seconds_of_a_task(peer) for peer in here]) for _ in range(ROUNDS)]
    for number, peer in enumerate(here):
        name = f"a tiny job / a task of {peer.name}"
        yield ratio_of(name, [(ours, theirs[number]) for ours, theirs in rounds], bar=peer.bar)


@contextmanager
def _tiny_jobs() -> Iterator[Jobs]:
    """Have JOBS jobs over one file, which it takes a fresh child each to find nothing in."""
    with scratch() as folder:
        files = [written(folder / "source.txt", "nothing\n")] * JOBS
        with warm(folder, "nothing", files, source=PARSER_OF_NOTHING, workers=WORKERS, limits=ALONE) as jobs:
            yield jobs


def _is_there(peer: Peer) -> bool:
    tried = subprocess.run([PYTHON, "-c", f"import {peer.module}"], check=False, capture_output=True)
    return tried.returncode == 0


def _seconds_of_a_task(peer: Peer) -> float:
    with tempfile.TemporaryDirectory() as folder:
        quiet = {**os.environ, "PREFECT_HOME": folder, "PREFECT_LOGGING_LEVEL": "CRITICAL", "DAGSTER_HOME": ""}
        done = subprocess.run(
            [PYTHON, "-c", PER_TASK.replace("import sys\n", "import sys\n" + peer.work, 1), str(TASKS)],
            cwd=folder, env=quiet, capture_output=True, text=True, check=True, timeout=PEER_SECONDS_MAX,
        )  # fmt: skip
    return float(done.stdout.split()[-1])
