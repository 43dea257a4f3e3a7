-- The statements by which the projector loads, replaces and links rows. Temporary tables `wanted`, `old` and `batch`
-- are Arrow tables that it registers for the length of one statement.

-- name: advance_checkpoint
-- Move the checkpoint, if nobody else has; the number of rows changed says so.
UPDATE cf_checkpoint SET seq = $seq, commit_no = $commit_no, hash = $hash
WHERE seq = $old_seq AND hash = $old_hash

-- name: read_checkpoint
-- Where the read model stands.
SELECT log_id, seq, commit_no, hash, schema_digest FROM cf_checkpoint

-- name: insert_checkpoint
-- The one row of a new read model: nothing folded yet.
INSERT INTO cf_checkpoint VALUES ($log_id, 0, 0, '', $schema_digest)

-- name: load_scout_files
-- The files among the wanted paths that are known already.
SELECT * FROM scout_files WHERE path IN (SELECT id FROM wanted)

-- name: load_cf_jobs
-- The jobs wanted.
SELECT * FROM cf_jobs WHERE job_id IN (SELECT id FROM wanted)

-- name: load_cf_runs
-- The runs wanted.
SELECT * FROM cf_runs WHERE run_id IN (SELECT id FROM wanted)

-- name: load_cf_executors
-- The executors wanted.
SELECT * FROM cf_executors WHERE executor IN (SELECT id FROM wanted)

-- name: load_cf_plugin_manifest
-- Every artifact of the parsers wanted: a new deployment changes which of them is current.
SELECT * FROM cf_plugin_manifest WHERE parser IN (SELECT id FROM wanted)

-- name: load_cf_parser_trust
-- The trust in the artifacts wanted.
SELECT * FROM cf_parser_trust WHERE artifact_hash IN (SELECT id FROM wanted)

-- name: load_cf_trusted_keys
-- The trust in the keys wanted.
SELECT * FROM cf_trusted_keys WHERE key IN (SELECT id FROM wanted)

-- name: load_cf_expected_outputs
-- Every declared output of the parsers wanted.
SELECT * FROM cf_expected_outputs WHERE parser IN (SELECT id FROM wanted)

-- name: load_cf_parser_health
-- Every parser: how its jobs go depends on jobs that the batch only names by their numbers, and parsers are few.
SELECT * FROM cf_parser_health

-- name: delete_cf_parser_health
-- Make room for the new rows of these parsers.
DELETE FROM cf_parser_health WHERE parser IN (SELECT id FROM old)

-- name: insert_cf_parser_health
-- The parsers of this batch as their jobs go now.
INSERT INTO cf_parser_health BY NAME SELECT * FROM batch

-- name: load_cf_metrics
-- Every counter, as far as the log has been folded.
SELECT * FROM cf_metrics

-- name: update_cf_metrics
-- The counters that this batch has changed.
UPDATE cf_metrics AS known SET value = batch.value FROM batch
WHERE known.counter = batch.counter AND known.parser = batch.parser

-- name: insert_cf_metrics
-- The counters that this batch is the first to count.
INSERT INTO cf_metrics BY NAME SELECT * FROM batch

-- name: delete_scout_files
-- Make room for the new rows of these files.
DELETE FROM scout_files WHERE path IN (SELECT id FROM old)

-- name: delete_cf_jobs
-- Make room for the new rows of these jobs.
DELETE FROM cf_jobs WHERE job_id IN (SELECT id FROM old)

-- name: delete_cf_runs
-- Make room for the new rows of these runs.
DELETE FROM cf_runs WHERE run_id IN (SELECT id FROM old)

-- name: delete_cf_executors
-- Make room for the new rows of these executors.
DELETE FROM cf_executors WHERE executor IN (SELECT id FROM old)

-- name: delete_cf_plugin_manifest
-- Make room for the new rows of these parsers' artifacts.
DELETE FROM cf_plugin_manifest WHERE parser IN (SELECT id FROM old)

-- name: delete_cf_parser_trust
-- Make room for the new rows of these artifacts.
DELETE FROM cf_parser_trust WHERE artifact_hash IN (SELECT id FROM old)

-- name: delete_cf_trusted_keys
-- Make room for the new rows of these keys.
DELETE FROM cf_trusted_keys WHERE key IN (SELECT id FROM old)

-- name: delete_cf_expected_outputs
-- Make room for the new rows of these parsers' outputs.
DELETE FROM cf_expected_outputs WHERE parser IN (SELECT id FROM old)

-- name: delete_cf_job_ranges
-- Make room for the ranges of a newer balance sheet.
DELETE FROM cf_job_ranges WHERE job_id IN (SELECT id FROM old)

-- name: ask_materializations
-- A run asked again for what these jobs recorded.
UPDATE cf_output_materializations AS known SET asked_seq = batch.seq FROM batch WHERE known.job_id = batch.job_id

-- name: lose_materializations
-- What these jobs recorded was declared lost.
UPDATE cf_output_materializations AS known SET lost_seq = batch.seq FROM batch WHERE known.job_id = batch.job_id

-- name: delete_quarantine
-- The rejected rows of these outputs of these jobs were deleted.
UPDATE cf_quarantine AS known SET deleted_seq = batch.seq, deleted_reason = batch.reason FROM batch
WHERE known.job_id = batch.job_id AND known.output_name = batch.output_name

-- name: insert_cf_quarantine
-- The rejected rows recorded in this batch.
INSERT INTO cf_quarantine BY NAME SELECT * FROM batch

-- name: insert_cf_job_schema_mismatch
-- The differences of columns found in this batch.
INSERT INTO cf_job_schema_mismatch BY NAME SELECT * FROM batch

-- name: insert_scout_files
-- The files of this batch as they are now.
INSERT INTO scout_files BY NAME SELECT * FROM batch

-- name: insert_cf_jobs
-- The jobs of this batch as they are now.
INSERT INTO cf_jobs BY NAME SELECT * FROM batch

-- name: insert_cf_runs
-- The runs of this batch as they are now.
INSERT INTO cf_runs BY NAME SELECT * FROM batch

-- name: insert_cf_executors
-- The executors of this batch as they are now.
INSERT INTO cf_executors BY NAME SELECT * FROM batch

-- name: insert_cf_plugin_manifest
-- The artifacts of this batch's parsers as they are now.
INSERT INTO cf_plugin_manifest BY NAME SELECT * FROM batch

-- name: insert_cf_parser_trust
-- The trust in this batch's artifacts as it is now.
INSERT INTO cf_parser_trust BY NAME SELECT * FROM batch

-- name: insert_cf_trusted_keys
-- The trust in this batch's keys as it is now.
INSERT INTO cf_trusted_keys BY NAME SELECT * FROM batch

-- name: insert_cf_expected_outputs
-- The declared outputs of this batch's parsers as they are now.
INSERT INTO cf_expected_outputs BY NAME SELECT * FROM batch

-- name: insert_cf_job_ranges
-- The ranges of the newest balance sheets.
INSERT INTO cf_job_ranges BY NAME SELECT * FROM batch

-- name: insert_cf_job_events
-- What happened to jobs in this batch.
INSERT INTO cf_job_events BY NAME SELECT * FROM batch

-- name: insert_cf_output_materializations
-- The outputs recorded in this batch.
INSERT INTO cf_output_materializations BY NAME SELECT * FROM batch
