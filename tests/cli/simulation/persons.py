"""Owns what people do in the simulation: runs, cancels in every state, drains, removals, retries, abandoned promotions.

A request may be sent again, also to a later sentinel: then it must have been carried out once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from random import Random
from typing import Final

import msgspec
from msgspec import Struct

from commands.decide import Command
from commands.executor import LoseExecutor
from commands.handle import Outcome
from commands.job import EnqueueJobs
from commands.parser import NOT_TRUSTED
from eventlog.errors import LogFullError
from eventlog.events import (
    CancelJob,
    DrainExecutor,
    QuarantinePolicy,
    ResumeParser,
    RetriedJob,
    RetryJobs,
    RevokeParser,
    RunStarted,
    SetJobPriority,
)
from eventlog.frames import Stamp, stamp_once
from eventlog.ids import JobId, Seq
from tests.cli.simulation.agenda import Agenda
from tests.cli.simulation.house import TRUST, House
from tests.cli.simulation.ledger import OPEN, Ledger
from tests.cli.simulation.target import URI
from tests.support import EVTX, enqueue, finish, keys, plan, record, start

BY: Final = "cli:anna"
FILES_MAX: Final = 8  # of one run
OPEN_JOBS_MAX: Final = 8  # before another run is begun: a world is to be short
LOOK_SECONDS: Final = 1.0
QUEUEING_SECONDS: Final = (0.0, 0.0, 1.0, 10.0)  # from a plan to the last job that is queued by it
Script = Generator["Future[Outcome] | float", Outcome | None, None]


class Sent(Struct, frozen=True):
    command: Command
    stamp: Stamp


class Persons:
    """Everybody who gives commands. Belongs to a world, and outlives its sentinels."""

    def __init__(
        self,
        agenda: Agenda,
        chance: Random,
        *,
        house: Callable[[], House | None],
        ledger: Callable[[], Ledger],
        complain: Callable[[str], None],
        story: list[str],
    ) -> None:
        self._agenda = agenda
        self._chance = chance
        self._house = house
        self._ledger = ledger
        self._complain = complain
        self._story = story
        self._files = 0
        self._sent: list[Sent] = []
        self._outcomes: dict[str, Outcome] = {}
        others = (
            self._cancel, self._abandon, self._drain, self._remove, self._retry, self._priority, self._resume,
            self._again, self._revoke, self._trust,
        )  # fmt: skip
        self._acts = [self._run, self._run, *chance.sample(others, chance.randint(0, len(others)))]

    def act(self, house: House) -> None:
        """Do one thing, at random."""
        act = self._chance.choice(self._acts)
        self._story.append(f"{self._agenda.now:.3f} {act.__name__.strip('_')}")
        act(house)

    def resume_parser(self, house: House) -> None:
        self._resume(house)

    def trust_parser(self, house: House) -> None:
        self._trust(house)

    # --- a run, as cli/session.py has one ---

    def _run(self, house: House) -> None:
        if len(self._ledger().open_jobs()) < OPEN_JOBS_MAX:
            self._play(house, self._session(house))

    def _play(self, house: House, script: Script, value: Outcome | None = None) -> None:
        """Have a script go on, while its sentinel lives."""
        try:
            wish = script.send(value)
        except StopIteration:
            return
        if isinstance(wish, float):
            self._agenda.plan(wish, "person", lambda: self._go_on(house, script, None))
        else:
            wish.add_done_callback(lambda done: self._answered(house, script, done))

    def _answered(self, house: House, script: Script, done: Future[Outcome]) -> None:
        if done.exception() is None:
            self._agenda.plan(0.001, "person", lambda: self._go_on(house, script, done.result()))

    def _go_on(self, house: House, script: Script, value: Outcome | None) -> None:
        if self._house() is house:
            self._play(house, script, value)

    def _session(self, house: House) -> Script:
        """Start, scan, plan, enqueue, wait, finish."""
        policy = QuarantinePolicy(allow=self._chance.random() < 0.5, ppm_max=1_000_000)
        begun = yield self._give(house, msgspec.structs.replace(start(quarantine=policy), sink_uri=URI), BY)
        if begun is None or not begun.events or not isinstance(begun.events[-1], RunStarted):
            return
        run = begun.events[-1].run
        numbers = self._choose_files()
        yield house.handler.submit(record(*numbers, run=run), actor=BY)
        new = [number for number in numbers if self._standing_of(number) == "new"]
        attached = [number for number in numbers if self._standing_of(number) == "open"]
        made = [key.materialization_key for number in new for key in keys(number)]
        at_seq = self._ledger().seq
        command = plan(len(numbers), len(new), run=run, at_seq=at_seq, attached=len(attached), made=made)
        planned = yield house.handler.submit(command, actor=BY)
        if planned is None or planned.refused is not None:
            return
        yield self._chance.choice(QUEUEING_SECONDS)
        yield house.handler.submit(self._now(enqueue(*new, run=run)), actor=BY)
        while run in self._ledger().open_runs:  # ends with the run, or with its sentinel
            yield LOOK_SECONDS
            yield house.handler.submit(finish(run, processed=1), actor=BY)

    def _choose_files(self) -> list[int]:
        first = self._files + 1
        count = self._chance.randint(1, self._chance.choice((2, FILES_MAX)))
        self._files += count
        known = range(1, first)
        again = self._chance.sample(known, min(len(known), self._chance.choice((0, 0, 1, 2))))
        return [*again, *range(first, first + count)]

    def _standing_of(self, number: int) -> str:
        names = [key.materialization_key for key in keys(number)]
        if any(name in self._ledger().recorded for name in names):
            return "recorded"
        return "open" if any(name in self._ledger().keys for name in names) else "new"

    # --- single requests ---

    def _cancel(self, house: House) -> None:
        """Cancel a job that is open, mostly; else one that has ended, or never was."""
        ledger = self._ledger()
        job = JobId(self._chance.randint(1, len(ledger.jobs) + 1))
        if ledger.open_jobs() and self._chance.random() < 0.7:
            job = self._chance.choice(sorted(ledger.open_jobs()))
        self._give(house, CancelJob(job=job, reason="not wanted", by=BY, now=self._agenda.wall()), BY)

    def _abandon(self, house: House) -> None:
        committed = sorted(self._ledger().standings["committed"])
        if committed:
            stamp = stamp_once(f"{self._chance.getrandbits(64):016x}", b"abandon")
            job = self._chance.choice(committed)
            self._ledger().unwanted.update(self._ledger().sharing(job))
            house.promoter.abandon(job, reason="not wanted", actor=BY, stamp=stamp)

    def _drain(self, house: House) -> None:
        here = sorted(self._ledger().executors)
        if here:
            executor = self._chance.choice(here)
            self._give(house, DrainExecutor(executor=executor, reason="", by=BY, now=self._agenda.wall()), BY)

    def _remove(self, house: House) -> None:
        """As `Fleet.dismiss`, for an executor that is no child of the sentinel's."""
        here = sorted(self._ledger().executors)
        if here:
            executor = self._chance.choice(here)
            house.dispatcher.remove(executor)
            lost = LoseExecutor(executor=executor, reason="removed", charged=False, now=self._agenda.wall())
            house.handler.submit(lost, actor="sentinel")

    def _retry(self, house: House) -> None:
        ledger = self._ledger()
        ended = sorted(ledger.standings["failed"] | ledger.standings["aborted"])
        if not ended:
            return
        known = ledger.jobs[self._chance.choice(ended)]
        names = [key.materialization_key for key in known.spec.keys]
        stood = known.standing
        assert stood not in OPEN
        again = RetriedJob(
            spec=known.spec,
            stood="failed" if stood == "failed" else "aborted",
            recorded=any(name in ledger.recorded for name in names),
        )
        command = RetryJobs(
            jobs=(again,), at_seq=Seq(ledger.seq), next_job=JobId(len(ledger.jobs) + 1), by=BY, reason="",
            now=self._agenda.wall(),
        )  # fmt: skip
        self._give(house, command, BY)

    def _priority(self, house: House) -> None:
        job = JobId(self._chance.randint(1, len(self._ledger().jobs) + 1))
        priority = self._chance.randint(-2, 2)
        self._give(house, SetJobPriority(job=job, priority=priority, by=BY, now=self._agenda.wall()), BY)

    def _resume(self, house: House) -> None:
        self._give(house, ResumeParser(parser=EVTX, by=BY, reason="", now=self._agenda.wall()), BY)

    def _revoke(self, house: House) -> None:
        """As the verb does: what the parser has open is cancelled behind the revocation, a moment later."""
        command = RevokeParser(parser=EVTX, by=BY, reason="loses a line", now=self._agenda.wall())

        def cancel_open(done: Future[Outcome]) -> None:
            if done.exception() is None and done.result().events:
                moment = self._chance.choice((0.0, 0.01, 3.0))
                self._agenda.plan(moment, "person", lambda: self._cancel_open(house))

        self._give(house, command, BY).add_done_callback(cancel_open)

    def _cancel_open(self, house: House) -> None:
        if self._house() is house and self._ledger().has_untrusted:
            for job in sorted(self._ledger().open_jobs()):
                self._give(house, CancelJob(job=job, reason=NOT_TRUSTED, by=BY, now=self._agenda.wall()), BY)

    def _trust(self, house: House) -> None:
        if self._ledger().has_untrusted:
            self._give(house, msgspec.structs.replace(TRUST, now=self._agenda.wall()), BY)

    def _again(self, house: House) -> None:
        """Send a request again, as who has heard no answer does."""
        if self._sent:
            self._send(house, self._chance.choice(self._sent))

    def _give(self, house: House, command: Command, actor: str) -> Future[Outcome]:
        sent = Sent(command, stamp_once(f"{self._chance.getrandbits(64):016x}", repr(command).encode()))
        self._sent.append(sent)
        return self._send(house, sent)

    def _send(self, house: House, sent: Sent) -> Future[Outcome]:
        answer = house.handler.submit(sent.command, actor=BY, stamp=sent.stamp)
        answer.add_done_callback(lambda done: self._check(sent, done))
        return answer

    def _check(self, sent: Sent, done: Future[Outcome]) -> None:
        """Require that an answer is durable, and the same as the first one that brought something about."""
        error = done.exception()
        if error is not None:
            if not isinstance(error, LogFullError):
                self._complain(f"{sent.command} was answered with {error!r}")
            return
        outcome = done.result()
        if outcome.seq > self._ledger().seq:
            self._complain(f"{sent.command} was answered up to {outcome.seq}, durable is {self._ledger().seq}")
        if outcome.events:
            first = self._outcomes.setdefault(sent.stamp.producer, outcome)
            if first != outcome:
                self._complain(f"{sent.command} was carried out twice: {first} then {outcome}")

    def _now(self, command: EnqueueJobs) -> EnqueueJobs:
        return msgspec.structs.replace(command, now=self._agenda.wall())
