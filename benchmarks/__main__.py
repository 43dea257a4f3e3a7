"""`python -m benchmarks [NAME...]`: run the measurements and print one line for each ratio and its bar."""

from __future__ import annotations

import sys

from benchmarks import (
    bench_append,
    bench_control,
    bench_evtx,
    bench_fix,
    bench_job,
    bench_leases,
    bench_log,
    bench_queue,
    bench_replay,
    bench_rerun,
    bench_validate,
)

ALL = {
    "append": bench_append.run,
    "control": bench_control.run,
    "job": bench_job.run,
    "leases": bench_leases.run,
    "log": bench_log.run,
    "queue": bench_queue.run,
    "replay": bench_replay.run,
    "rerun": bench_rerun.run,
    "evtx": bench_evtx.run,
    "fix": bench_fix.run,
    "validate": bench_validate.run,
}


def main() -> int:
    """Run the named measurements, or all of them."""
    names = sys.argv[1:] or list(ALL)
    unknown = [name for name in names if name not in ALL]
    if unknown:
        sys.stderr.write(f"no measurement named {', '.join(unknown)}; there are: {', '.join(ALL)}\n")
        return 2
    for name in names:
        for ratio in ALL[name]():
            sys.stdout.write(ratio.line() + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
