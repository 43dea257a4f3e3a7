"""The shell of the core: one thread decides, one log commits, answers and subscribers wait until it is durable.

What waits in the inbox when a commit returns becomes the next batch: decided on the speculative state (each decision
sees the ones before it), evolved at once, appended in one write and one sync. The deciding thread is the log's only
caller and commits inline: a hand-over to another thread would cost a lone writer a third of its speed, and while the
disk syncs nothing could be answered anyway. A failed sync ends the process, so speculation is never rolled back. That
is also why the log is asked for room before a batch is decided: a batch that it could not take is never speculated.
"""

from __future__ import annotations

import contextlib
import gc
import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar, get_args

from commands.decide import Command, decide
from commands.inbox import BATCH_COMMANDS_MAX, AsyncPort, Outcome, Request, settle
from commands.outcome import Refused
from eventlog.errors import LogError, LogFullError
from eventlog.events import CommandRefused, Event, LoggedCommand
from eventlog.frames import Frame, FrameDraft, Stamp
from eventlog.ids import Seq
from eventlog.log import Log
from reducers.fold import State, apply, fold
from reducers.receipts import Receipt, Receipts

__all__ = ["AsyncPort", "Handler", "Outcome"]

INBOX_ITEMS_MAX = 10_000
IDLE_SECONDS = 1.0
NOTHING_OBSERVED = Seq(0)
LOGGED: tuple[type[LoggedCommand], ...] = get_args(LoggedCommand)

T = TypeVar("T")


Look = Callable[[State | None], None]  # None when there is no state to be looked at any more
Subscriber = Callable[[Sequence[Frame]], None]
# Looks at the state between two batches and returns what should happen next; called on the deciding thread.
ProcessManager = Callable[[State], Sequence[Command]]


class _HaltedError(Exception):
    """A look has found that nothing may be appended any more."""


class Handler:
    """The deciding thread, and the only caller of the log."""

    def __init__(self, log: Log, *, manager: ProcessManager, actor: str) -> None:
        self._log = log
        self._manager = manager
        self._actor = actor
        self._inbox: queue.Queue[list[Request] | Look | None] = queue.Queue(INBOX_ITEMS_MAX)
        self._subscribers: list[Subscriber] = []
        self._thread = threading.Thread(target=self._loop, name="decider", daemon=True)
        self._state = State()
        self._fault: BaseException | None = None
        self._full: LogFullError | None = None
        self._committed_at: float | None = None  # since which nothing was marked or committed

    def subscribe(self, subscriber: Subscriber) -> None:
        """Have durable frames told, in order, on the deciding thread: a subscriber only hands on. Before `start`."""
        self._subscribers.append(subscriber)

    def replay(
        self, observe: Callable[[Frame], None], *, start: State | None = None, observed: Seq = NOTHING_OBSERVED
    ) -> None:
        """Fold the log into the state; `observe` sees each frame. Once, before `start`.

        With `start`, a state of this log at its seq, only what is after it is folded; nothing before that is read
        unless `observe` has seen the log up to `observed` only.
        """
        if start is not None:
            self._state = start
        folded = self._state.seq
        gc.collect()
        gc.freeze()
        gc.disable()  # keeping decoded events alive is bound by the collector: three to four times the speed
        try:
            for frame in self._log.replay(min(folded, observed) + 1):
                if frame.last > folded:
                    fold(self._state, frame.records)
                    self._state.seq = Seq(frame.last)  # the last records may be of a type that is passed over
                    self._state.receipts.fold(frame)
                observe(frame)
        finally:
            gc.enable()
            gc.unfreeze()

    def start(self) -> None:
        """Begin to decide."""
        self._thread.start()

    def submit(self, command: Command, *, actor: str, cause: int = 0, stamp: Stamp | None = None) -> Future[Outcome]:
        """Queue a command; the future is done when its frame is durable. Blocks while the inbox is full.

        A command whose stamp the log has is not decided again: it gets the outcome of the first. The id of a logged
        command is the producer of its stamp, or a new one.
        """
        answer: Future[Outcome] = Future()
        self._put([Request(command, actor, cause, answer, stamp)])
        return answer

    def call(self, command: Command, *, actor: str, cause: int = 0) -> Outcome:
        """Submit a command and wait for its outcome."""
        return self.submit(command, actor=actor, cause=cause).result()

    def port(self, *, actor: str) -> AsyncPort:
        """Return the way in for the tasks of the event loop that runs now."""
        return AsyncPort(self._put, actor=actor)

    def refuse_full(self) -> None:
        """Raise LogFullError if the last batch was refused for want of room: who waits for progress waits in vain."""
        if self._full is not None:
            raise self._full

    def refuse_dead(self) -> None:
        """Raise what has ended the deciding thread, if something has."""
        if self._fault is not None:
            raise self._fault

    def inspect(self, look: Callable[[State], T]) -> T:
        """Return what `look` makes of the state, called on the deciding thread between two batches."""
        answer: Future[T] = Future()

        def ask(state: State | None) -> None:
            if state is None:
                answer.set_exception(self._fault or RuntimeError("the decider has ended"))
                return
            try:
                answer.set_result(look(state))
            except Exception as error:  # noqa: BLE001  # the question's own fault: its asker is told, nobody else
                answer.set_exception(error)

        self.look(ask)
        return answer.result()

    def look(self, look: Look) -> None:
        """Have `look` called with the state, on the deciding thread between two batches; it must not raise."""
        self._inbox.put(look)
        if self._fault is not None:
            self._tell([], self._fault)

    def halt(self, fault: LogError) -> None:
        """Decide and append nothing more: whoever asks is told why. For a look, while which no batch is under way."""
        self._fault = fault

    def known(self, stamp: Stamp) -> Outcome | None:
        """Return the outcome of the request with this stamp if it came before, None if it is new.

        For a caller that does something beside the command, which must not be done twice.
        """
        receipt = self.inspect(lambda state: recognise(stamp, state.receipts))
        if isinstance(receipt, Refused):
            return Outcome(seq=Seq(self._log.head.seq), events=(), refused=receipt)
        return self._recall(receipt) if receipt is not None else None

    def wake(self) -> None:
        """Have the process manager look at the state soon. Never blocks."""
        with contextlib.suppress(queue.Full):  # a full inbox wakes it by itself
            self._inbox.put_nowait(_nothing)

    def stop(self) -> None:
        """Decide what is queued, then end the thread."""
        self._inbox.put(None)
        self._thread.join()

    def at_rest(self) -> State | None:
        """Return the state, which is that of the log's head; after `stop`. None if a fault has left it ahead of it."""
        assert not self._thread.is_alive(), "the state is changed as long as the decider is at work"
        return self._state if self._fault is None else None

    def _put(self, requests: list[Request]) -> None:
        self._inbox.put(requests)
        if self._fault is not None:  # set between two looks: nobody takes from the inbox any more
            settle((request, self._fault) for request in requests)

    def _loop(self) -> None:
        pending: list[Request] = []
        try:
            while self._turn(pending):
                pending.clear()
        except _HaltedError:  # nothing is wrong with this thread: whoever serves tells why
            assert self._fault is not None
            self._tell(pending, self._fault)
        except BaseException as error:
            # A fault behind the decision (a frame that the log refuses) leaves the speculative state ahead of the
            # log. Nothing more may be decided on it; whoever waits is told.
            self._fault = error
            self._tell(pending, error)
            raise

    def _tell(self, pending: Sequence[Request], error: BaseException) -> None:
        settle((request, error) for request in pending)
        while True:
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                return
            if isinstance(item, list):
                settle((request, error) for request in item)
            elif item is not None:
                item(None)

    def _turn(self, pending: list[Request]) -> bool:
        """Decide one batch of what waits and of what follows from it; False when told to stop."""
        going_on = True
        looks: list[Look] = []
        for item in self._drain():
            if item is None:
                going_on = False
            elif isinstance(item, list):
                pending += item
            else:
                looks.append(item)
        self._decide(pending)
        for look in looks:
            look(self._state if self._fault is None else None)
        if self._fault is not None:
            raise _HaltedError
        self._mark_when_quiet()
        return going_on

    def _mark_when_quiet(self) -> None:
        """Write the idle mark although somebody looks all the time: readers would not see the last commit otherwise."""
        if self._committed_at is not None and time.monotonic() - self._committed_at >= IDLE_SECONDS:
            self._log.mark()
            self._committed_at = None

    def _drain(self) -> list[list[Request] | Look | None]:
        """Return what waits, not much over BATCH_COMMANDS_MAX; after IDLE_SECONDS of nothing, write the idle mark."""
        try:
            items = [self._inbox.get(timeout=IDLE_SECONDS)]
        except queue.Empty:
            self._log.mark()
            self._committed_at = None
            return []
        commands = 0
        while commands < BATCH_COMMANDS_MAX:
            commands += len(items[-1]) if isinstance(items[-1], list) else 1
            try:
                items.append(self._inbox.get_nowait())
            except queue.Empty:
                break
        return items

    def _decide(self, pending: list[Request]) -> None:
        """Decide what waits and what the process manager then wants; commit all of it in one batch, publish, answer.

        What is wanted is added to `pending`: one sync serves both.
        """
        if not self._has_room(pending):
            return  # the manager is not asked either: it would want the same again, and in vain
        drafts: list[FrameDraft] = []
        answers = self._speculate_all(pending, drafts)
        wanted = [Request(command, self._actor, 0, Future()) for command in self._manager(self._state)]
        pending += wanted
        answers += self._speculate_all(wanted, drafts)
        if drafts:
            frames = self._log.commit(drafts)
            self._committed_at = time.monotonic()
            assert frames[-1].last == self._state.seq
            for subscriber in self._subscribers:
                subscriber(frames)
        settle((request, self._recall(each) if isinstance(each, Receipt) else each) for request, each in answers)

    def _speculate_all(
        self, requests: Sequence[Request], drafts: list[FrameDraft]
    ) -> list[tuple[Request, Outcome | Receipt]]:
        """Decide requests in order, each on the state that the ones before it leave, adding what is to be appended."""
        answers: list[tuple[Request, Outcome | Receipt]] = []
        for request in requests:
            known = recognise(request.stamp, self._state.receipts) if request.stamp is not None else None
            if isinstance(known, Receipt):
                answers.append((request, known))
                continue
            if known is not None:
                answers.append((request, Outcome(seq=self._state.seq, events=(), refused=known)))
                continue
            outcome, draft = self._speculate(request)
            answers.append((request, outcome))
            if draft is not None:
                drafts.append(draft)
                if request.stamp is not None:
                    self._state.receipts.keep(request.stamp, last=outcome.seq)
        return answers

    def _recall(self, receipt: Receipt) -> Outcome:
        """Return the outcome that a request had when it came first; it may have been a life of this process ago."""
        with contextlib.closing(self._log.replay(from_seq=receipt.last)) as frames:
            frame = next(frames)
        # Of a frame's records only the first can be a command, and `events` leaves it out.
        events: tuple[Event, ...] = tuple(record.data for record in frame.events)  # type: ignore[misc]
        refusals = [event for event in events if isinstance(event, CommandRefused)]
        refused = Refused(refusals[0].code, refusals[0].why, refusals[0].next_step) if refusals else None
        return Outcome(seq=Seq(receipt.last), events=events, refused=refused)

    def _has_room(self, requests: Sequence[Request]) -> bool:
        """Ask for room before anything is speculated; without it, answer the batch with that and stay as we are."""
        try:
            self._log.require_room()
            self._full = None
        except LogFullError as error:
            self._full = error
            settle((request, error) for request in requests)
        return self._full is None

    def _speculate(self, request: Request) -> tuple[Outcome, FrameDraft | None]:
        state, command = self._state, request.command
        decision = decide(command, state)
        logged = command if isinstance(command, LOGGED) else None
        refused = decision if isinstance(decision, Refused) else None
        events = tuple(decision) if not isinstance(decision, Refused) else _refusal(decision, logged)
        if not events and logged is None:
            return Outcome(seq=state.seq, events=(), refused=refused), None
        if logged is not None:
            state.seq = Seq(state.seq + 1)  # the command is the frame's first record
        for event in events:
            apply(state, Seq(state.seq + 1), event)
        outcome = Outcome(seq=state.seq, events=events, refused=refused)
        return outcome, _draft(request, logged, events)


def recognise(stamp: Stamp, receipts: Receipts) -> Receipt | Refused | None:
    """Return the receipt of a request, None if it is new; Refused if the stamp can only be somebody's mistake."""
    receipt = receipts.find(stamp)
    name = f"request {stamp.sequence} of {stamp.producer}, epoch {stamp.epoch}"
    if receipt is not None and receipt.digest != stamp.digest:
        return Refused("id_reused", f"{name} came before with other content", "Send it under a new number.")
    newest = receipts.epoch_of(stamp.producer)
    if receipt is None and stamp.epoch < newest:
        return Refused("stale_epoch", f"{name}: it has since been in epoch {newest}", "Start it again.")
    return receipt


def _nothing(state: State | None) -> None:
    """Look at nothing: what is put into the inbox to wake the loop."""


def _refusal(refused: Refused, logged: LoggedCommand | None) -> tuple[Event, ...]:
    """Return what is appended of a refusal: a person's refused command is history too, a machine's is not."""
    if logged is None:
        return ()
    return (CommandRefused(code=refused.code, why=refused.why, next_step=refused.next_step),)


def _draft(request: Request, logged: LoggedCommand | None, events: tuple[Event, ...]) -> FrameDraft:
    return FrameDraft(
        events=events,
        actor=request.actor,
        command=logged,
        command_id="" if logged is None else request.stamp.producer if request.stamp else str(uuid.uuid4()),
        cause=request.cause,
        corr=request.cause,
        stamp=request.stamp,
    )
