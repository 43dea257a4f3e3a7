"""Owns which jobs a run waits for: those that it queues, those that are open already, and what earlier runs left."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec

from cli import clock
from cli.earlier_jobs import held_up, taken_up
from cli.halt import Halt
from cli.planning import Plan
from cli.progress import Talk
from cli.run_commands import RunCommands
from cli.watch import JobWatch
from commands.job import JOBS_MAX, EnqueueJobs, NewJob
from eventlog.events import JobQueued, RunStarted
from eventlog.ids import JobId
from executors.scanner import batches
from reducers.run_jobs import claimed, held_back, left_over

if TYPE_CHECKING:
    from cli.sentinel import Sentinel

JOBS_BYTES_MAX = 1024 * 1024  # of one EnqueueJobs: a frame holds four times as much
JOB_OVERHEAD_BYTES = 1024


class RunJobs:
    """The jobs of one run: `awaited` are all that it waits for, `also` those of them that are of earlier runs,
    `overtaken` those of another run that were queued between its plan and its jobs.
    """

    def __init__(
        self,
        sentinel: Sentinel,
        started: RunStarted,
        watch: JobWatch,
        *,
        commands: RunCommands,
        talk: Talk,
        halt: Halt,
    ) -> None:
        self._sentinel = sentinel
        self._started = started
        self._watch = watch
        self._commands = commands
        self._talk = talk
        self._halt = halt
        self.awaited: set[JobId] = set()
        self.also: set[JobId] = set()
        self.overtaken: set[JobId] = set()

    def enqueue(self, plan: Plan, *, priority: int) -> None:
        """Queue what the plan has new, and have the watch expect it and all else that the run waits for.

        Raises CliError, HaltedError.
        """
        jobs: list[JobId] = list(plan.attached_jobs)
        self._watch.expect(jobs)
        jobs.extend(self._queue(plan, priority))
        keys = {key.materialization_key for job in plan.new for key in job.keys}
        self.overtaken = self._sentinel.handler.inspect(lambda state: claimed(state, keys)) - set(jobs)
        self._watch.expect(self.overtaken)
        jobs.extend(sorted(self.overtaken))
        if not self._sentinel.lasting:
            jobs.extend(self._take_up(jobs))
        self._sentinel.hire()
        self.awaited.update(jobs)
        self._watch.settle(self._sentinel.handler.inspect(lambda state: {job for job in jobs if state.jobs.get(job)}))

    def _queue(self, plan: Plan, priority: int) -> list[JobId]:
        """Return the jobs that were queued, each expected before anybody can end it unseen."""
        queued: list[JobId] = []
        settings_bytes = len(msgspec.json.encode(self._started.settings))  # they stand in the event of each job

        def size_of(job: NewJob) -> int:
            return _job_bytes(job) + settings_bytes

        for chunk in batches(plan.new, count_max=JOBS_MAX, bytes_max=JOBS_BYTES_MAX, size_of=size_of):
            command = EnqueueJobs(run=self._started.run, jobs=tuple(chunk), priority=priority, now=clock.now())
            new = [event.job for event in self._commands.call(command).events if isinstance(event, JobQueued)]
            self._watch.expect(new)
            queued.extend(new)
            self._sentinel.hire()
            self._halt.heed()
        return queued

    def _take_up(self, jobs: Collection[JobId]) -> list[JobId]:
        """Return the jobs of earlier runs that this one makes as well, and say so; a paused parser's stay where they
        are.
        """
        left = self._sentinel.handler.inspect(lambda state: left_over(state, self._started.sink_uri))
        held = self._sentinel.handler.inspect(held_back)
        others = sorted(set(left) - set(jobs) - held.keys())
        waiting = sorted((set(left) & held.keys()) - set(jobs))
        for sentence in (taken_up(others), held_up(waiting, "; ".join(sorted({held[job] for job in waiting})))):
            if sentence:
                self._talk.note(sentence)
        self.also.update(others)
        self._watch.expect(others)
        return others


def _job_bytes(job: NewJob) -> int:
    """Return the size of the job's event, from above: the file and its keys, and what the run adds to them."""
    return len(msgspec.json.encode(job)) + JOB_OVERHEAD_BYTES
