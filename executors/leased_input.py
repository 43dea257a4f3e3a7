"""Owns the attempt at one input of a lease, and the guest that inputs have one after the other.

What an input becomes is decided here: nothing, artifacts of its own, or rows that are held for those of the lease.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final

from eventlog.events import BalanceSheet
from eventlog.ids import JobId
from eventlog.sheets import sheet_fault
from executors.attempt import Acknowledge, Attempt, Rows, durable, orders_of, sink_failed, without_rows
from executors.guest.host import Guest, GuestOrders, GuestTimes, start_guest
from executors.guest.parents import GuestParents
from executors.held_rows import HeldRows, OutgrownError
from executors.protocol import Declined, Dispatch, Failed, Receipt, Succeeded
from executors.stages import Stages
from executors.statements import Statements, balance_sheets
from sinks.sink import Sink

INPUT_HELD_BYTES_MAX: Final = 32 * 1024 * 1024  # of one input; one that becomes more is done alone, and streamed


class LeaseGuests:
    """The guest of a lease, replaced by a fresh one after it has failed. As a context manager it leaves none behind."""

    def __init__(self, parents: GuestParents, times: GuestTimes | None) -> None:
        self._parents = parents
        self._times = times
        self._guest: Guest | None = None

    def __enter__(self) -> LeaseGuests:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    @property
    def is_used(self) -> bool:
        """Whether the guest that is lent next has had another input before."""
        return self._guest is not None

    def lend(self, orders: GuestOrders) -> AbstractContextManager[Guest]:
        """Return a guest that has these orders, for the length of a block. Raises GuestStartError."""
        if self._guest is None:
            self._guest = start_guest(orders, parents=self._parents, times=self._times)
        else:
            self._guest.go_on(orders)
        return _Lent(self._guest, self)

    def take_back(self) -> None:
        """Keep the guest if it waits for more; end one that has failed or was left in the middle."""
        if self._guest is not None and not self._guest.waits():
            self.end()

    def end(self) -> None:
        """Leave nothing of the guest behind. Idempotent."""
        guest, self._guest = self._guest, None
        if guest is not None:
            guest.__exit__(None, None, None)


class _Lent:
    def __init__(self, guest: Guest, guests: LeaseGuests) -> None:
        self._guest = guest
        self._guests = guests

    def __enter__(self) -> Guest:
        return self._guest

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guests.take_back()


class LeasedInput(Attempt):
    """The attempt at one job of a lease. Its rows are `held`, or staged for it alone where some were rejected."""

    def __init__(
        self,
        job: JobId,
        dispatch: Dispatch,
        *,
        guests: LeaseGuests,
        sink_factory: Callable[[str], Sink],
        parents: GuestParents,
    ) -> None:
        super().__init__(job, dispatch, sink_factory=sink_factory, parents=parents)
        self.held = HeldRows(bytes_max=INPUT_HELD_BYTES_MAX)
        self.begun: float | None = None  # on the monotonic clock: when a guest took it up
        self.in_used_guest = False
        self._guests = guests
        self._sink: Sink | None = None

    @property
    def shares(self) -> bool:
        """Whether its rows are to lie among those of others."""
        return self._stages is None and self.held.any_accepted

    def _run(self, acknowledge: Acknowledge) -> Receipt:
        try:
            return super()._run(acknowledge)
        except OutgrownError as error:
            return Declined(reason=str(error))

    def _rows_in(self, sink: Sink) -> Rows:
        self._sink = sink
        return self.held

    def _take_guest(self) -> AbstractContextManager[Guest]:
        self.in_used_guest = self._guests.is_used
        lent = self._guests.lend(orders_of(self.dispatch, more=True))
        self.begun = time.monotonic()
        return lent

    def _staged(self, statements: Statements | None) -> Receipt:
        sheets = balance_sheets(statements, accepted=self.held.accepted, rejected=self.held.rejected)
        gave_rows = self.held.any_accepted or self.held.any_rejected
        for sheet in sheets:
            if (fault := sheet_fault(sheet, gave_rows=gave_rows)) is not None:
                failure, kind, why = fault
                hint = f"casparian job show {self.job}"
                return Failed(failure=failure, kind=kind, reason=why, hint=hint, sheet=sheets[0])
        return self._staged_alone(sheets) if self.held.any_rejected else self._to_share(sheets)

    def _staged_alone(self, sheets: tuple[BalanceSheet, ...]) -> Receipt:
        assert self._sink is not None, "an attempt that has rows has a sink"
        self._stages = Stages(self._sink, self.job, self.dispatch)
        try:
            for schema, checked in self.held.batches:
                self._stages.write(schema, checked)
        except OSError as error:
            return sink_failed(error, doing=f"stage the outputs in {self.dispatch.sink_uri}")
        return durable(self._stages, self.dispatch, sheets)

    def _to_share(self, sheets: tuple[BalanceSheet, ...]) -> Receipt:
        """Return a receipt whose shares are known when the lease is done."""
        sheet, *further = sheets
        return Succeeded(
            outputs=(),
            empty=without_rows(self.dispatch, self.held.accepted),
            sheet=sheet,
            further=tuple(further),
            notes=self.held.notes,
        )
