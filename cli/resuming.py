"""Owns what a start takes up: commits that an earlier process did not publish, and what was staged in vain."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from cli.promoter import Promoter, promoting_bundles
from commands.handle import Handler
from eventlog.ids import JobId, LogId
from reducers.fold import State
from sinks.sink import Sink

logger = logging.getLogger("casparian.sentinel")


def sweep(
    handler: Handler,
    uris: Iterable[str],
    *,
    open_sink: Callable[[str], Sink],
    log_id: LogId,
    is_foreign: Callable[[Sink], bool] = lambda _sink: False,
) -> int:
    """Remove staged artifacts of this log that no commit waits for; how many. Only while no executor has a lease.

    A target that cannot be looked at or cleaned now is left: what lies there is hidden, and swept by a later start. So
    is a foreign one.
    """
    kept = handler.inspect(committed_stages)
    swept = 0
    for uri in uris:
        sink = open_sink(uri)
        try:
            if is_foreign(sink):
                continue
            for staged in set(sink.staged_names(log_id)) - kept:
                sink.discard(staged)
                swept += 1
        except OSError as error:
            logger.warning("sweep %s: %s; left for the next start", uri, error)
    return swept


def publish_committed(handler: Handler, promoter: Promoter, *, withhold: JobId | None) -> None:
    """Have promoted what was committed; not what a person decides on, `withhold`."""
    for bundle in handler.inspect(promoting_bundles):
        if all(committed.job != withhold for committed in bundle):
            promoter.recover(bundle)


def open_sinks(state: State) -> set[str]:
    """Return the targets that jobs are open for: something may be staged there."""
    return {job.spec.sink_uri for job in map(state.jobs.get, state.jobs) if job is not None}


def committed_stages(state: State) -> set[str]:
    """Return the names of what is staged and will be published, outputs and rejected rows."""
    commits = [job.committed for job in state.jobs.promoting.values()]
    outputs = {each.staged for committed in commits for each in committed.outputs}
    return outputs | {each.staged for committed in commits for each in committed.evidence}
