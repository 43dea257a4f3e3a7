"""Gathers the verbs. Each is a function in a file of its own; this file only names them."""

from __future__ import annotations

from cli import (
    balance,
    executor,
    explain,
    files,
    job,
    job_logs,
    jobs,
    log,
    log_backup,
    log_checkpoint,
    log_export,
    log_fork,
    log_keys,
    log_repair,
    log_segments,
    log_tail,
    metrics,
    outputs,
    parser,
    parser_keys,
    parser_new,
    preview,
    quarantine,
    record,
    replay,
    run,
    schema,
    schema_show,
    service,
    sql,
    status,
    tape,
)
from cli.demo import verb as demo
from cli.plain import PlainCommand
from cli.root import command_line

app = command_line()
app.command("run", cls=PlainCommand)(run.run)
app.command("preview", cls=PlainCommand)(preview.preview)
app.command("sql", cls=PlainCommand)(sql.sql)
app.command("jobs", cls=PlainCommand)(jobs.jobs)
app.command("files", cls=PlainCommand)(files.files)
app.command("outputs", cls=PlainCommand)(outputs.outputs)
app.command("balance", cls=PlainCommand)(balance.balance)
app.command("record", cls=PlainCommand)(record.record)
app.command("start", cls=PlainCommand)(service.start)
app.command("stop", cls=PlainCommand)(service.stop)
app.command("status", cls=PlainCommand)(status.status)
app.command("metrics", cls=PlainCommand)(metrics.metrics)
app.command("sentinel", cls=PlainCommand)(service.sentinel)
app.command("executor", cls=PlainCommand)(executor.executor)
app.add_typer(executor.app, name="executors")
app.command("replay", cls=PlainCommand)(replay.replay)
app.command("demo", cls=PlainCommand)(demo.demo)
job.app.command("logs", cls=PlainCommand)(job_logs.logs)
app.add_typer(job.app, name="job")
app.add_typer(quarantine.app, name="quarantine")
schema.app.command("show", cls=PlainCommand)(schema_show.show)
schema.app.command("diff", cls=PlainCommand)(schema_show.diff)
app.add_typer(schema.app, name="schema")
parser.app.command("new", cls=PlainCommand)(parser_new.new)
parser.app.command("keygen", cls=PlainCommand)(parser_keys.keygen)
parser.app.command("sign", cls=PlainCommand)(parser_keys.sign)
parser.app.command("keys", cls=PlainCommand)(parser_keys.keys)
app.add_typer(parser.app, name="parser")
app.add_typer(explain.app, name="explain")
app.add_typer(explain.app, name="why", hidden=True)
log.app.command("keygen", cls=PlainCommand)(log_keys.keygen)
log.app.command("checkpoint", cls=PlainCommand)(log_checkpoint.checkpoint)
log.app.command("stats", cls=PlainCommand)(log_segments.stats)
log.app.command("tail", cls=PlainCommand)(log_tail.tail)
log.app.command("seal", cls=PlainCommand)(log_segments.seal)
log.app.command("backup", cls=PlainCommand)(log_backup.backup)
log.app.command("repair", cls=PlainCommand)(log_repair.repair)
log.app.command("export", cls=PlainCommand)(log_export.export)
log.app.command("fork", cls=PlainCommand)(log_fork.fork)
app.add_typer(log.app, name="log")
app.add_typer(schema.app, name="schema")
app.add_typer(tape.app, name="tape")
