-- The tables of the read model. Rebuilt from the log at any time; nothing here is evidence, the log is.
-- No table has an index or a key constraint: rows are replaced by set-based DELETE and INSERT, which is faster than
-- an index at every size tried, and the digest of every table in key order is what proves that keys are unique.

-- How far the log has been folded: one row. `hash` is the commit hash of the frame that holds `seq`.
CREATE TABLE cf_checkpoint (
    log_id VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    commit_no BIGINT NOT NULL,
    hash VARCHAR NOT NULL,
    schema_digest VARCHAR NOT NULL
);

-- Every path that a scanner met, as it was last seen. A path that was only ever refused has no hashes.
CREATE TABLE scout_files (
    path VARCHAR NOT NULL,
    size BIGINT,
    mtime_ns BIGINT,
    file_uid VARCHAR,
    source_hash VARCHAR,
    sha256 VARCHAR,
    first_seen_seq BIGINT NOT NULL,
    last_seen_seq BIGINT NOT NULL,
    last_run BIGINT NOT NULL,
    refused_reason VARCHAR
);

-- One row per job: where it stands, how it ended, and its balance sheet (found = written + quarantined + skipped +
-- unreadable, null until an attempt has stated it). `further` are sheets of the same input in other units, `notes` what the
-- host did with columns that need not be as declared (both JSON text). `events` counts its rows in cf_job_events.
-- `scheduled_at` is when it is due at the earliest, `retries` how many were used up, `retry_of` the job it makes again.
CREATE TABLE cf_jobs (
    job_id BIGINT NOT NULL,
    run_id BIGINT NOT NULL,
    path VARCHAR NOT NULL,
    source_hash VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    size BIGINT NOT NULL,
    parser VARCHAR NOT NULL,
    parser_version VARCHAR NOT NULL,
    artifact_hash VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    completion_status VARCHAR,
    priority BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    retries BIGINT NOT NULL,
    retry_of BIGINT,
    executor VARCHAR,
    queued_at TIMESTAMPTZ NOT NULL,
    scheduled_at TIMESTAMPTZ NOT NULL,
    dispatched_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    error_class VARCHAR,
    error_kind VARCHAR,
    error_reason VARCHAR,
    error_hint VARCHAR,
    log_tail VARCHAR,
    unit VARCHAR,
    found BIGINT,
    written BIGINT,
    quarantined BIGINT,
    skipped BIGINT,
    unreadable BIGINT,
    ranges_total BIGINT,
    skips VARCHAR,
    further VARCHAR,
    notes VARCHAR,
    rows_total BIGINT NOT NULL,
    events BIGINT NOT NULL,
    queued_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL
);

-- The unreadable byte ranges of a job's source, in the order in which the parser stated them; at most 1,000 a job.
CREATE TABLE cf_job_ranges (
    job_id BIGINT NOT NULL,
    n BIGINT NOT NULL,
    byte_offset BIGINT NOT NULL,
    byte_length BIGINT NOT NULL,
    reason VARCHAR NOT NULL
);

-- What happened to a job, numbered 1, 2, 3 ... without gaps, with the position of each event in the log.
CREATE TABLE cf_job_events (
    job_id BIGINT NOT NULL,
    job_seq BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    type VARCHAR NOT NULL,
    reason VARCHAR
);

-- One row per recorded output; file is '' where it has no rows. A run last asked for it at asked_seq. Of each content,
-- parser and output, the tables show the row with the greatest asked_seq that is not lost (lost_seq is null).
CREATE TABLE cf_output_materializations (
    materialization_key VARCHAR NOT NULL,
    output_target_key VARCHAR NOT NULL,
    job_id BIGINT NOT NULL,
    run_id BIGINT NOT NULL,
    output_name VARCHAR NOT NULL,
    source_hash VARCHAR NOT NULL,
    parser VARCHAR NOT NULL,
    parser_version VARCHAR NOT NULL,
    artifact_hash VARCHAR NOT NULL,
    sink_uri VARCHAR NOT NULL,
    file VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    bytes BIGINT NOT NULL,
    row_first BIGINT NOT NULL,
    rows BIGINT NOT NULL,
    schema_hash VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    recorded_seq BIGINT NOT NULL,
    asked_seq BIGINT NOT NULL,
    lost_seq BIGINT
);

-- The rejected rows of an output, by output and job: where they are kept and which rules they broke (JSON text: a list
-- of {"column", "code", "rows"}). `accepted` rows stood beside them; where `rejected` is true, policy did not let those
-- be published. Where deleted_seq is not null, a person had the file deleted, and why.
CREATE TABLE cf_quarantine (
    job_id BIGINT NOT NULL,
    run_id BIGINT NOT NULL,
    output_name VARCHAR NOT NULL,
    source_hash VARCHAR NOT NULL,
    parser VARCHAR NOT NULL,
    parser_version VARCHAR NOT NULL,
    sink_uri VARCHAR NOT NULL,
    file VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    bytes BIGINT NOT NULL,
    rows BIGINT NOT NULL,
    accepted BIGINT NOT NULL,
    rules VARCHAR NOT NULL,
    rejected BOOLEAN NOT NULL,
    schema_hash VARCHAR NOT NULL,
    recorded_seq BIGINT NOT NULL,
    deleted_seq BIGINT,
    deleted_reason VARCHAR
);

-- How the columns that an attempt gave differed from the declared ones; the lists are JSON text.
CREATE TABLE cf_job_schema_mismatch (
    job_id BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    output_name VARCHAR NOT NULL,
    expected VARCHAR NOT NULL,
    actual VARCHAR NOT NULL,
    missing VARCHAR NOT NULL,
    extra VARCHAR NOT NULL,
    misplaced VARCHAR NOT NULL,
    types VARCHAR NOT NULL,
    seq BIGINT NOT NULL
);

-- One row per run: what was asked (inputs, settings and the quarantine policy are JSON text), what was planned at at_seq, how it ended.
CREATE TABLE cf_runs (
    run_id BIGINT NOT NULL,
    parser VARCHAR NOT NULL,
    inputs VARCHAR NOT NULL,
    settings VARCHAR NOT NULL,
    sink_uri VARCHAR NOT NULL,
    workers BIGINT NOT NULL,
    quarantine VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    exit BIGINT,
    found BIGINT,
    reused BIGINT,
    queued BIGINT,
    attached BIGINT,
    refused BIGINT,
    processed BIGINT,
    failed BIGINT,
    superseded BIGINT,
    plan_digest VARCHAR,
    at_seq BIGINT,
    reason VARCHAR,
    started_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ
);

-- Every artifact of a parser that was deployed; the newest deployment of a name is current. outputs, settings and
-- components are JSON text; file is where a person named it, '' for a built-in parser.
CREATE TABLE cf_plugin_manifest (
    parser VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    artifact_hash VARCHAR NOT NULL,
    env_hash VARCHAR NOT NULL,
    builtin BOOLEAN NOT NULL,
    file VARCHAR NOT NULL,
    settings VARCHAR NOT NULL,
    outputs VARCHAR NOT NULL,
    components VARCHAR NOT NULL,
    deployed_seq BIGINT NOT NULL,
    deployed_at TIMESTAMPTZ NOT NULL,
    current BOOLEAN NOT NULL
);

-- Every artifact of a parser that may run or might, how and by whose word; key is whose signature it ran by, or empty;
-- revoked_at is null while it may run.
CREATE TABLE cf_parser_trust (
    parser VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    artifact_hash VARCHAR NOT NULL,
    how VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    trusted_by VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    trusted_seq BIGINT NOT NULL,
    trusted_at TIMESTAMPTZ NOT NULL,
    revoked_by VARCHAR,
    revoked_reason VARCHAR,
    revoked_at TIMESTAMPTZ
);

-- Every key whose signature a person trusted; key is its public half, revoked_at is null while it counts.
CREATE TABLE cf_trusted_keys (
    key VARCHAR NOT NULL,
    trusted_by VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    trusted_seq BIGINT NOT NULL,
    trusted_at TIMESTAMPTZ NOT NULL,
    revoked_by VARCHAR,
    revoked_reason VARCHAR,
    revoked_at TIMESTAMPTZ
);

-- How the jobs of each parser's current artifact go: `failures` in a row that speak against it, and since when and why it
-- is paused. While it is, none of its jobs is handed out.
CREATE TABLE cf_parser_health (
    parser VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    artifact_hash VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    failures BIGINT NOT NULL,
    paused_at TIMESTAMPTZ,
    paused_job BIGINT,
    paused_reason VARCHAR,
    resumed_at TIMESTAMPTZ,
    resumed_by VARCHAR,
    resumed_reason VARCHAR
);

-- The outputs that an artifact of a parser declares; columns is JSON text, without the host's lineage columns.
CREATE TABLE cf_expected_outputs (
    parser VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    artifact_hash VARCHAR NOT NULL,
    output_name VARCHAR NOT NULL,
    schema_hash VARCHAR NOT NULL,
    columns VARCHAR NOT NULL,
    deployed_seq BIGINT NOT NULL
);

-- Every executor that ever joined, and how it left.
CREATE TABLE cf_executors (
    executor VARCHAR NOT NULL,
    pid BIGINT NOT NULL,
    host VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    capacity BIGINT NOT NULL,
    status VARCHAR NOT NULL,
    joined_at TIMESTAMPTZ NOT NULL,
    lost_at TIMESTAMPTZ,
    reason VARCHAR
);

-- What was counted since the log began, by parser ('' where a counter belongs to none): the numbers behind
-- `casparian metrics`, durations in microseconds.
CREATE TABLE cf_metrics (
    counter VARCHAR NOT NULL,
    parser VARCHAR NOT NULL,
    value BIGINT NOT NULL
);

-- Other names under which the same rows are asked for.
CREATE VIEW cf_materializations AS SELECT * FROM cf_output_materializations;

-- The jobs that have not ended, as they wait or are held. Those that are due are handed out by priority, the highest first,
-- then by number. `attempts` counts the one that is under way.
CREATE VIEW cf_processing_queue AS SELECT job_id, run_id, path, parser, parser_version, status, priority, scheduled_at, attempt AS attempts, retries, retry_of,
    executor AS lease_owner, dispatched_at AS claim_time, queued_at, error_reason
FROM cf_jobs
WHERE status NOT IN ('completed', 'failed', 'aborted');

-- One row per job in the words of programs that ask for jobs: queued, running, completed, failed, cancelled.
CREATE VIEW cf_api_jobs AS SELECT job_id, 'run' AS job_type,
    CASE WHEN status IN ('queued', 'completed', 'failed') THEN status
        WHEN status = 'aborted' THEN 'cancelled' ELSE 'running' END AS status,
    completion_status, parser AS plugin_name, parser_version AS plugin_version, run_id, path AS input, priority, retry_of,
    queued_at AS created_at, started_at, finished_at,
    CASE WHEN status IN ('failed', 'aborted') THEN error_reason END AS error_message,
    rows_total AS rows_processed, coalesce(quarantined, 0) AS quarantine_rows
FROM cf_jobs;

-- What happened to each job in the words of programs that follow it, numbered 1, 2, 3 ... in each job without gaps. The
-- payload is JSON text: of `phase` its name and reason, of `output` and `violation` what was recorded, of `job_finished`
-- the status and the error.
CREATE VIEW cf_api_events AS SELECT event.job_id, job_seq AS event_id,
    CASE type
        WHEN 'JobStarted' THEN 'job_started'
        WHEN 'MaterializationRecorded' THEN 'output'
        WHEN 'QuarantineRecorded' THEN 'violation'
        WHEN 'SchemaMismatchFound' THEN 'violation'
        WHEN 'JobCompleted' THEN 'job_finished'
        WHEN 'JobFailed' THEN 'job_finished'
        WHEN 'JobAborted' THEN 'job_finished'
        ELSE 'phase'
    END AS type,
    CAST(CASE type
        WHEN 'JobStarted' THEN json_object('attempt', started.attempt)
        WHEN 'MaterializationRecorded' THEN json_object(
            'output_name', made.output_name, 'sink_uri', made.sink_uri, 'rows', made.rows, 'bytes', made.bytes
        )
        WHEN 'QuarantineRecorded' THEN json_object(
            'output_name', kept.output_name, 'count', kept.rows, 'violations', CAST(kept.rules AS JSON)
        )
        WHEN 'SchemaMismatchFound' THEN json_object(
            'output_name', wrong.output_name, 'missing', CAST(wrong.missing AS JSON), 'extra', CAST(wrong.extra AS JSON)
        )
        WHEN 'JobCompleted' THEN json_object('status', 'completed', 'error_message', NULL)
        WHEN 'JobFailed' THEN json_object('status', 'failed', 'error_message', event.reason)
        WHEN 'JobAborted' THEN json_object('status', 'cancelled', 'error_message', event.reason)
        WHEN 'JobQueued' THEN json_object('name', 'queued', 'reason', event.reason)
        WHEN 'JobRequeued' THEN json_object('name', 'queued', 'reason', event.reason)
        WHEN 'JobDeclined' THEN json_object('name', 'queued', 'reason', event.reason)
        WHEN 'JobPrioritySet' THEN json_object('name', 'queued', 'reason', event.reason)
        WHEN 'JobDispatched' THEN json_object('name', 'dispatched', 'reason', NULL)
        WHEN 'OutputsCommitted' THEN json_object('name', 'promoting', 'reason', NULL)
        WHEN 'CancelAccepted' THEN json_object('name', 'aborting', 'reason', event.reason)
        WHEN 'CommitRefused' THEN json_object('name', 'refused', 'reason', event.reason)
        ELSE json_object('name', 'abandoned', 'reason', event.reason)
    END AS VARCHAR) AS payload,
    event.seq
FROM cf_job_events AS event
LEFT JOIN cf_output_materializations AS made ON made.recorded_seq = event.seq
LEFT JOIN cf_quarantine AS kept ON kept.recorded_seq = event.seq
LEFT JOIN cf_job_schema_mismatch AS wrong ON wrong.seq = event.seq
LEFT JOIN (
    SELECT seq, count(*) FILTER (type = 'JobDispatched') OVER (PARTITION BY job_id ORDER BY job_seq) AS attempt
    FROM cf_job_events
) AS started ON started.seq = event.seq;

-- The failed jobs that are nobody's concern any more until a person looks: none after it has the same content and parser,
-- but such as were stopped. `reason` says why it was not tried again.
CREATE VIEW cf_dead_letters AS SELECT job_id, run_id, path, source_hash, parser, parser_version, error_reason AS error_message, error_kind,
    attempt AS attempts, finished_at AS moved_at,
    CASE error_class
        WHEN 'transient' THEN 'retries used up'
        WHEN 'unknown' THEN 'failed again'
        ELSE error_class
    END AS reason
FROM cf_jobs AS letter
WHERE status = 'failed' AND NOT EXISTS (
    FROM cf_jobs AS later
    WHERE later.source_hash = letter.source_hash AND later.parser = letter.parser
        AND later.job_id > letter.job_id AND later.status != 'aborted'
);
