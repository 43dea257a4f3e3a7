-- The questions that front ends ask of the read model. Values are bound, never written into the text.

-- name: jobs
-- Jobs, newest first, of one status, of one way to have completed, or of all.
SELECT * FROM cf_jobs
WHERE $status::VARCHAR IS NULL OR status = $status OR completion_status = $status
ORDER BY job_id DESC
LIMIT $limit

-- name: jobs_of_run
-- The jobs that a run queued, oldest first.
SELECT * FROM cf_jobs WHERE run_id = $run_id ORDER BY job_id

-- name: job
-- One job.
SELECT * FROM cf_jobs WHERE job_id = $job_id

-- name: job_ranges
-- The unreadable ranges of one job, in order.
SELECT * FROM cf_job_ranges WHERE job_id = $job_id ORDER BY n

-- name: job_events
-- What happened to one job after a given number of its events, in order.
SELECT * FROM cf_job_events WHERE job_id = $job_id AND job_seq > $after ORDER BY job_seq

-- name: job_outputs
-- The outputs that one job recorded, in order.
SELECT * FROM cf_output_materializations WHERE job_id = $job_id ORDER BY recorded_seq

-- name: job_counts
-- How many jobs are in each status.
SELECT status, count(*) AS jobs FROM cf_jobs GROUP BY status ORDER BY status

-- name: metrics
-- Every counter, by name and parser.
SELECT * FROM cf_metrics ORDER BY counter, parser

-- name: standing
-- How many jobs wait, are held and are being published, since when the oldest waits, and how many executors are here.
SELECT (SELECT seq FROM cf_checkpoint) AS seq,
    count(*) FILTER (status = 'queued') AS queued,
    count(*) FILTER (status IN ('dispatched', 'running', 'aborting')) AS running,
    count(*) FILTER (status = 'promoting') AS promoting,
    min(queued_at) FILTER (status = 'queued') AS oldest_queued_at,
    (SELECT count(*) FROM cf_executors WHERE status != 'lost') AS executors
FROM cf_jobs

-- name: files
-- Known paths, the ones seen last first, with how the newest job of their content stands and why.
WITH newest AS (
    SELECT source_hash, arg_max(coalesce(completion_status, status), job_id) AS state,
        arg_max(coalesce(error_reason, ''), job_id) AS reason
    FROM cf_jobs GROUP BY source_hash
)
SELECT files.*, CASE WHEN refused_reason IS NOT NULL THEN 'refused' ELSE coalesce(state, 'read') END AS state,
    coalesce(refused_reason, nullif(reason, '')) AS reason
FROM scout_files AS files LEFT JOIN newest USING (source_hash)
ORDER BY last_seen_seq DESC, path LIMIT $limit

-- name: files_of_run
-- The paths whose last sight was in a run, by path.
SELECT * FROM scout_files WHERE last_run = $run_id ORDER BY path

-- name: paths_ending
-- The paths that end in a name, or in folders and a name, by path: what a summary shows of them.
SELECT path AS id FROM scout_files WHERE ends_with(path, '/' || $name) ORDER BY path LIMIT $limit

-- name: paths_not_met
-- The paths that begin with a wanted one, and were read before a run and not met by it, by path.
SELECT path, source_hash FROM scout_files
WHERE last_run < $run_id AND source_hash IS NOT NULL
    AND EXISTS (SELECT 1 FROM wanted WHERE starts_with(path, wanted.id))
ORDER BY path LIMIT $limit

-- name: runs
-- Runs, newest first.
SELECT * FROM cf_runs ORDER BY run_id DESC LIMIT $limit

-- name: run
-- One run.
SELECT * FROM cf_runs WHERE run_id = $run_id

-- name: parsers
-- Current parsers, by name.
SELECT * FROM cf_plugin_manifest WHERE current ORDER BY parser

-- name: trusted_parsers
-- Every artifact of a parser that a person trusts, by parser, the newest last.
SELECT * FROM cf_parser_trust WHERE revoked_at IS NULL ORDER BY parser, trusted_seq

-- name: parser_health
-- How the jobs of each parser go, by name: with what waits, what has failed for good, and the newest failure.
WITH failed AS (
    SELECT parser, max(job_id) AS job_id FROM cf_jobs WHERE status = 'failed' GROUP BY parser
), waiting AS (
    SELECT parser, count(*) AS jobs FROM cf_jobs WHERE status = 'queued' GROUP BY parser
), dead AS (
    SELECT parser, count(*) AS jobs FROM cf_dead_letters GROUP BY parser
)
SELECT health.*, coalesce(waiting.jobs, 0) AS waiting, coalesce(dead.jobs, 0) AS dead_letters,
    newest.job_id AS last_failed_job, newest.path AS last_failed_file, newest.error_class AS last_failed_class,
    newest.error_reason AS last_failed_reason, newest.finished_at AS last_failed_at
FROM cf_parser_health AS health
LEFT JOIN failed USING (parser)
LEFT JOIN cf_jobs AS newest ON newest.job_id = failed.job_id
LEFT JOIN waiting ON waiting.parser = health.parser
LEFT JOIN dead ON dead.parser = health.parser
ORDER BY health.parser

-- name: retry_candidates
-- The newest job of each content and parser, where that is one that failed or was stopped, oldest first: of one parser or
-- of all, and with $dead only those that failed.
SELECT jobs.* FROM cf_jobs AS jobs
WHERE job_id > $after AND ($parser::VARCHAR IS NULL OR parser = $parser) AND status IN ('failed', 'aborted')
    AND (status = 'failed' OR NOT $dead)
    AND NOT EXISTS (
        FROM cf_jobs AS later
        WHERE later.source_hash = jobs.source_hash AND later.parser = jobs.parser AND later.job_id > jobs.job_id
            AND ($dead = false OR later.status != 'aborted')
    )
ORDER BY job_id LIMIT $limit

-- name: keys_trusted_for
-- The keys whose signature counts for a parser: trusted, and not since then revoked by a person for that name.
SELECT * FROM cf_trusted_keys k
WHERE revoked_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM cf_parser_trust t WHERE t.key = k.key AND t.parser = $parser AND t.revoked_at >= k.trusted_at
)
ORDER BY trusted_seq

-- name: trusted_keys
-- Every key whose signature a person trusts, the newest last.
SELECT * FROM cf_trusted_keys WHERE revoked_at IS NULL ORDER BY trusted_seq

-- name: executors
-- Executors, those alive first, then the newest.
SELECT * FROM cf_executors ORDER BY status, joined_at DESC, executor LIMIT $limit

-- name: materializations_of_jobs
-- The outputs that the wanted jobs recorded, in order.
SELECT * FROM cf_output_materializations WHERE job_id IN (SELECT id FROM wanted) ORDER BY recorded_seq

-- name: materializations_of_keys
-- What is recorded under the wanted keys, except what is lost, in order.
SELECT * FROM cf_output_materializations
WHERE materialization_key IN (SELECT id FROM wanted) AND lost_seq IS NULL
ORDER BY recorded_seq

-- name: superseded_by_run
-- How many materializations have one of this run as the next of their content, parser, output and target.
WITH followed AS (
    SELECT lost_seq, lead(run_id) OVER (
        PARTITION BY source_hash, parser, output_name, sink_uri ORDER BY recorded_seq
    ) AS next_run
    FROM cf_output_materializations
    WHERE source_hash IN (SELECT source_hash FROM cf_output_materializations WHERE run_id = $run_id)
)
SELECT count(*) AS superseded FROM followed WHERE next_run = $run_id AND lost_seq IS NULL

-- name: missing_keys
-- Which of the wanted keys nothing is recorded under, except what is lost.
SELECT DISTINCT id FROM wanted
WHERE id NOT IN (SELECT materialization_key FROM cf_output_materializations WHERE lost_seq IS NULL)

-- name: hidden_jobs
-- Which jobs made what is recorded under the wanted keys and is not what the tables show of its content.
WITH asked AS (
    SELECT * FROM cf_output_materializations
    WHERE materialization_key IN (SELECT id FROM wanted) AND lost_seq IS NULL
), newest AS (
    SELECT source_hash, parser, output_name, max(asked_seq) AS shown_seq
    FROM cf_output_materializations
    WHERE lost_seq IS NULL AND source_hash IN (SELECT source_hash FROM asked)
    GROUP BY ALL
)
SELECT DISTINCT job_id AS id FROM asked JOIN newest USING (source_hash, parser, output_name)
WHERE asked_seq < shown_seq
ORDER BY id

-- name: recorded_files
-- Every file that holds recorded rows and is not lost, once, and whether any of its rows are current: of their content,
-- parser and output those that a run asked for last. A case that was written to two targets is shown once. Rejected rows
-- are current with the reading that they were rejected from; those of a job whose outputs policy forbade, while nothing
-- newer is recorded. Jobs of one lease share a file: `superseded` are those whose rows in it are not current, `lost` those
-- whose rows were declared lost.
WITH ranked AS (
    SELECT *, lost_seq IS NULL AND asked_seq = max(asked_seq) FILTER (lost_seq IS NULL)
        OVER (PARTITION BY source_hash, parser, output_name) AS is_current
    FROM cf_output_materializations
), shown AS (
    SELECT source_hash, parser, output_name, max(asked_seq) AS shown_seq, arg_max(job_id, asked_seq) AS shown_job
    FROM ranked WHERE lost_seq IS NULL GROUP BY ALL
), evidence AS (
    SELECT kept.*, CASE WHEN rejected
        THEN recorded_seq > coalesce(shown_seq, 0)
            AND recorded_seq = max(recorded_seq) OVER (PARTITION BY source_hash, parser, output_name)
        ELSE job_id IS NOT DISTINCT FROM shown_job END AS current
    FROM cf_quarantine AS kept LEFT JOIN shown USING (source_hash, parser, output_name)
    WHERE deleted_seq IS NULL
), files AS (
    SELECT parser, output_name, sink_uri, file, min(bytes) AS bytes, min(schema_hash) AS schema_hash,
        bool_or(is_current) AS current,
        coalesce(list(job_id ORDER BY job_id) FILTER (NOT is_current AND lost_seq IS NULL), []) AS superseded,
        coalesce(list(job_id ORDER BY job_id) FILTER (lost_seq IS NOT NULL), []) AS lost,
        min(recorded_seq) AS recorded_seq
    FROM ranked
    WHERE file != ''
    GROUP BY parser, output_name, sink_uri, file
    HAVING bool_or(lost_seq IS NULL)
    UNION ALL
    SELECT parser, output_name || '_quarantine', sink_uri, file, bytes, schema_hash, current, [], [], recorded_seq
    FROM evidence
)
SELECT * EXCLUDE (recorded_seq) FROM files
ORDER BY parser, output_name, recorded_seq, file

-- name: published_files
-- Every file that was published and is not known to be lost, once, with what was recorded of its bytes.
SELECT parser, output_name, sink_uri, file, min(digest) AS digest, min(bytes) AS bytes,
    CAST(sum(rows) AS BIGINT) AS rows, min(job_id) AS job_id
FROM cf_output_materializations
WHERE lost_seq IS NULL AND file != ''
GROUP BY parser, output_name, sink_uri, file
UNION ALL
SELECT parser, output_name || '_quarantine', sink_uri, file, digest, bytes, rows, job_id
FROM cf_quarantine
WHERE deleted_seq IS NULL
ORDER BY parser, output_name, job_id, file

-- name: quarantine
-- The rejected rows of each output of each job, newest first; of one job or output, or of all. `current` as in
-- recorded_files: one reading of each content.
WITH shown AS (
    SELECT source_hash, parser, output_name, max(asked_seq) AS shown_seq, arg_max(job_id, asked_seq) AS shown_job
    FROM cf_output_materializations WHERE lost_seq IS NULL GROUP BY ALL
), kept AS (
    SELECT known.*, CASE WHEN rejected
        THEN recorded_seq > coalesce(shown_seq, 0)
            AND recorded_seq = max(recorded_seq) OVER (PARTITION BY source_hash, parser, output_name)
        ELSE job_id IS NOT DISTINCT FROM shown_job END AS current
    FROM cf_quarantine AS known LEFT JOIN shown USING (source_hash, parser, output_name)
)
SELECT kept.*, jobs.path, jobs.error_reason AS reason FROM kept JOIN cf_jobs AS jobs USING (job_id)
WHERE ($job_id::BIGINT IS NULL OR job_id = $job_id) AND ($output::VARCHAR IS NULL OR output_name = $output)
ORDER BY recorded_seq DESC LIMIT $limit

-- name: quarantine_of_jobs
-- The rejected rows of the wanted jobs, in order.
SELECT kept.*, jobs.path, jobs.error_reason AS reason, true AS current
FROM cf_quarantine AS kept JOIN cf_jobs AS jobs USING (job_id)
WHERE job_id IN (SELECT id FROM wanted) ORDER BY recorded_seq

-- name: schema_mismatch
-- How the columns of a job's attempts differed from the declared ones, in order.
SELECT * FROM cf_job_schema_mismatch WHERE job_id = $job_id ORDER BY seq

-- name: standing_mismatches
-- How the columns that a parser gave differed from the declared ones, the newest first, one for each content and output,
-- as long as no later job has recorded anything of that content.
SELECT found.*, jobs.path
FROM cf_job_schema_mismatch AS found JOIN cf_jobs AS jobs USING (job_id)
WHERE jobs.parser = $parser AND NOT EXISTS (
    FROM cf_output_materializations AS made
    WHERE made.source_hash = jobs.source_hash AND made.parser = jobs.parser AND made.recorded_seq > found.seq
)
QUALIFY row_number() OVER (PARTITION BY jobs.source_hash, found.output_name ORDER BY found.seq DESC) = 1
ORDER BY found.seq DESC LIMIT $limit

-- name: readings
-- The ways in which each output that has several was read and written: by how many contents, in how many of them shown.
WITH ranked AS (
    SELECT made.*, run.settings,
        asked_seq = max(asked_seq) OVER (PARTITION BY source_hash, made.parser, output_name) AS is_current
    FROM cf_output_materializations AS made
    JOIN cf_runs AS run USING (run_id)
    WHERE lost_seq IS NULL
), counted AS (
    SELECT parser, output_name, parser_version, settings, sink_uri, artifact_hash,
        count(DISTINCT source_hash) AS contents,
        count(DISTINCT source_hash) FILTER (is_current) AS shown
    FROM ranked
    GROUP BY ALL
)
SELECT * FROM counted
QUALIFY count(*) OVER (PARTITION BY parser, output_name) > 1
ORDER BY parser, output_name, shown DESC, parser_version, settings, sink_uri, artifact_hash

-- name: declared_outputs
-- The newest declaration of each output; `current` says whether its parser's current artifact still declares it.
SELECT expected.parser, expected.output_name, arg_max(expected.columns, expected.deployed_seq) AS columns,
    bool_or(manifest.current) AS current
FROM cf_expected_outputs AS expected
JOIN cf_plugin_manifest AS manifest
    ON manifest.parser = expected.parser
    AND manifest.version = expected.version
    AND manifest.artifact_hash = expected.artifact_hash
GROUP BY expected.parser, expected.output_name
ORDER BY expected.parser, expected.output_name

-- name: jobs_of_ids
-- The wanted jobs, oldest first.
SELECT * FROM cf_jobs WHERE job_id IN (SELECT id FROM wanted) ORDER BY job_id

-- name: ranges_of_jobs
-- The unreadable ranges of the wanted jobs, in order.
SELECT * FROM cf_job_ranges WHERE job_id IN (SELECT id FROM wanted) ORDER BY job_id, n

-- name: balance_of_job
-- The sheet of one job, whether or not a newer one accounts for its content now.
SELECT path, source_hash, parser, job_id,
    CASE WHEN status IN ('completed', 'failed') THEN status ELSE 'not processed' END AS status,
    completion_status, error_class, error_reason AS reason,
    unit, found, written, quarantined, skipped, unreadable, ranges_total, skips, further, true AS first_of_job
FROM cf_jobs
WHERE job_id = $job_id

-- name: balance
-- Every known path with the sheet of the job that accounts for its content, per parser: of those that completed the one
-- whose outputs the tables show, else the newest that failed. `first_of_job` is true for one path of each job, so that
-- copies are counted once.
WITH shown AS (
    SELECT job_id, max(asked_seq) AS asked_seq FROM cf_output_materializations WHERE lost_seq IS NULL GROUP BY job_id
), ranked AS (
    SELECT cf_jobs.*, row_number() OVER (
        PARTITION BY source_hash, parser ORDER BY status = 'completed' DESC, asked_seq DESC NULLS LAST, job_id DESC
    ) AS place
    FROM cf_jobs LEFT JOIN shown USING (job_id)
    WHERE status IN ('completed', 'failed')
)
SELECT files.path, files.source_hash, job.parser, job.job_id,
    coalesce(job.status, CASE WHEN files.refused_reason IS NULL THEN 'not processed' ELSE 'refused' END) AS status,
    job.completion_status, job.error_class, coalesce(job.error_reason, files.refused_reason) AS reason,
    job.unit, job.found, job.written, job.quarantined, job.skipped, job.unreadable, job.ranges_total, job.skips,
    job.further,
    row_number() OVER (PARTITION BY job.job_id ORDER BY files.path) = 1 AS first_of_job
FROM scout_files AS files
LEFT JOIN ranked AS job ON job.source_hash = files.source_hash AND job.place = 1
ORDER BY files.path, job.parser
