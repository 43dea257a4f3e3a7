"""Names the deliberate faults: what each one does wrong, where, and which test must fail when it is there."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Mutant(Struct, frozen=True, kw_only=True):
    """One fault: `text` stands once in `file` and is replaced by `instead`; `killer` is what pytest is asked to run."""

    name: str
    fault: str
    file: str
    text: str
    instead: str
    killer: str


LOG: Final = "eventlog/log.py"
RECOVERY: Final = "eventlog/recovery.py"
FRAMES: Final = "eventlog/frames.py"
SEALED: Final = "eventlog/compressed.py"
SEALING: Final = "eventlog/sealing.py"
SNAPSHOT: Final = "eventlog/snapshot.py"

MUTANTS: Final = (
    # --- the writer ---
    Mutant(
        name="no-sync",
        fault="an append returns without a sync",
        file=LOG,
        text="                self._fs.sync_data(self._fd)\n",
        instead="                pass\n",
        killer="tests/eventlog/test_processes.py::test_an_answer_is_given_only_after_write_and_sync",
    ),
    Mutant(
        name="sync-again",
        fault="a sync that failed is tried again",
        file=LOG,
        text="                self._fs.sync_data(self._fd)\n",
        instead=(
            "                try:\n                    self._fs.sync_data(self._fd)\n"
            "                except OSError:\n                    self._fs.sync_data(self._fd)\n"
        ),
        killer="tests/eventlog/test_log.py::test_a_failed_sync_is_never_tried_again",
    ),
    Mutant(
        name="go-on-after-error",
        fault="a storage error is reported and the process goes on",
        file=LOG,
        text="        self._die(message)\n",
        instead="        print(message)\n",
        killer="tests/eventlog/test_log.py::test_a_failed_sync_is_never_tried_again",
    ),
    Mutant(
        name="foreign-append",
        fault="bytes that somebody else appended are written after",
        file=LOG,
        text="        if named.st_size != self._file_bytes:",
        instead="        if named.st_size < self._file_bytes:",
        killer="tests/eventlog/test_ahead.py::test_20_a_foreign_append_behind_the_zeros_is_noticed_before_the_next_write",
    ),
    Mutant(
        name="foreign-frame",
        fault="a frame that somebody else wrote over our zeros is written over",
        file=LOG,
        text="        if not self._ends_at_head():",
        instead="        if self._fd < 0:",
        killer="tests/eventlog/test_ahead.py::test_20_a_foreign_frame_over_the_zeros_is_noticed_before_the_next_write",
    ),
    Mutant(
        name="zeros-left",
        fault="a segment that has a successor keeps the zeros that were written ahead",
        file=LOG,
        text="        self._cut()\n        first = head.seq + 1",
        instead="        first = head.seq + 1",
        killer="tests/eventlog/test_ahead.py::test_a_full_segment_is_cut_before_there_is_a_next_one",
    ),
    Mutant(
        name="zeros-after-close",
        fault="zeros behind a clean end are taken for those of a writer",
        file=RECOVERY,
        text="    strange = scan.bytes_after + scan.segment.ahead",
        instead="    strange = scan.bytes_after",
        killer="tests/eventlog/test_ahead.py::test_zeros_behind_a_clean_end_are_corrupt",
    ),
    Mutant(
        name="foreign-file",
        fault="a file that was put in the segment's place is not noticed",
        file=LOG,
        text="        if identity(named) != self._identity:",
        instead="        if not named.st_size:",
        killer="tests/eventlog/test_log.py::test_20_a_replaced_file_is_noticed_before_the_next_write",
    ),
    Mutant(
        name="fork",
        fault="a forked child may append",
        file=LOG,
        text="        if os.getpid() != self._pid:",
        instead="        if os.getpid() < 0:",
        killer="tests/eventlog/test_log.py::test_20_a_forked_child_is_refused_and_the_parent_goes_on",
    ),
    Mutant(
        name="durable-too-high",
        fault="a frame says that its own batch was durable before it",
        file=LOG,
        text="ts=self._clock(), epoch=self.epoch, durable=head.seq)",
        instead="ts=self._clock(), epoch=self.epoch, durable=head.seq + 1)",
        killer="tests/eventlog/test_log.py::test_durable_of_a_frame_is_the_end_of_the_batch_before",
    ),
    Mutant(
        name="closed-stays",
        fault="the mark of a clean close stays while a writer is at work",
        file=LOG,
        text="            remove_durably(folder / CLOSED_NAME, fs=fs)",
        instead="            pass",
        killer="tests/eventlog/test_log.py::test_opening_removes_the_clean_close_mark_before_it_appends",
    ),
    Mutant(
        name="no-room-asked",
        fault="a nearly full disk is written to",
        file=LOG,
        text="            if not self._room_asked:\n                self._reserve.require()\n",
        instead="",
        killer="tests/eventlog/test_reserve.py::test_a_frame_is_refused_before_it_gets_a_seq_and_taken_when_there_is_room",
    ),
    # --- the file operations ---
    Mutant(
        name="short-write",
        fault="a short write is taken for a whole one",
        file="eventlog/files.py",
        text="        written += _progress(fs.write_at(",
        instead="        written = len(data) + 0 * _progress(fs.write_at(",
        killer="tests/eventlog/test_log.py::test_short_writes_are_continued",
    ),
    Mutant(
        name="lock-not-asked",
        fault="a lock that somebody holds is no reason to stay away",
        file="eventlog/lock.py",
        text="fcntl.LOCK_EX | fcntl.LOCK_NB",
        instead="fcntl.LOCK_SH | fcntl.LOCK_NB",
        killer="tests/eventlog/test_processes.py::test_20_a_second_opener_in_another_process_is_refused_by_name",
    ),
    # --- frames ---
    Mutant(
        name="hash-without-log-id",
        fault="the hash does not bind a frame to its log",
        file=FRAMES,
        text='FORMAT.encode() + b"\\0" + bytes.fromhex(log_id)',
        instead='FORMAT.encode() + b"\\0" + bytes(16)',
        killer="tests/eventlog/test_log.py::test_frame_bytes_are_those_of_the_description",
    ),
    Mutant(
        name="records-out-of-place",
        fault="the positions of a frame's lines are not compared with its commit line",
        file=FRAMES,
        text="    if not records_are_in_place(",
        instead="    if line.first < 0 and not records_are_in_place(",
        killer="tests/eventlog/test_log.py::test_lines_that_are_not_where_their_commit_says_stop_the_replay",
    ),
    Mutant(
        name="reference-ahead",
        fault="a frame may name a cause that is not in the log yet",
        file=FRAMES,
        text="    if type(seq) is not int or not 0 <= seq <= last:",
        instead="    if type(seq) is not int or seq < 0:",
        killer="tests/eventlog/test_log.py::test_a_draft_that_would_not_read_back_is_refused_before_anything_is_written",
    ),
    # --- records ---
    Mutant(
        name="no-read-back",
        fault="a record that JSON changes gets a position",
        file="eventlog/records.py",
        text="            self._refuse_changed(data, originals)\n",
        instead="            pass\n",
        killer="tests/eventlog/test_guard.py::test_27_a_record_is_taken_exactly_when_it_reads_back",
    ),
    Mutant(
        name="unknown-passed-over",
        fault="an unknown type is passed over, whatever its writer said",
        file="eventlog/records.py",
        text="    opt: Literal[1]  #",
        instead="    opt: Any = 1  #",
        killer="tests/eventlog/test_records.py::test_39_an_unknown_type_stops_the_reader_at_its_place",
    ),
    Mutant(
        name="one-step-too-few",
        fault="the first version of a record is read as if it were the second",
        file="eventlog/registry.py",
        text="[version - 1 :]",
        instead="[version:]",
        killer="tests/eventlog/test_records.py::test_every_version_is_read_as_the_newest",
    ),
    # --- recovery ---
    Mutant(
        name="accept-any-hash",
        fault="a witness past the damage is believed without its hash",
        file=RECOVERY,
        text="!= line.hash:\n            continue",
        instead="== b'':\n            continue",
        killer="tests/eventlog/test_recovery.py::test_a_commit_line_that_does_not_fit_its_frame_is_no_witness",
    ),
    Mutant(
        name="ignore-durable",
        fault="what a later frame says of durable records is not heard: rot is taken for a torn end",
        file=RECOVERY,
        text="    if line.durable > link.seq:",
        instead="    if line.durable > link.seq + 10**9:",
        killer="tests/eventlog/test_recovery.py::test_07_every_lost_sector_in_a_durable_batch_is_corrupt",
    ),
    Mutant(
        name="tail-without-bound",
        fault="any amount of bytes may be a torn end",
        file=RECOVERY,
        text="    if scan.bytes_after > TAIL_BYTES_MAX:",
        instead="    if scan.bytes_after < 0:",
        killer="tests/eventlog/test_recovery.py::test_a_tail_longer_than_a_batch_can_be_is_corrupt",
    ),
    Mutant(
        name="closed-ignored",
        fault="damage after a clean close is taken for a torn end",
        file=RECOVERY,
        text="    if closed is not None:\n        return _judge_closed(scan, closed)\n",
        instead="",
        killer="tests/eventlog/test_recovery.py::test_garbage_after_a_clean_close_is_corrupt",
    ),
    Mutant(
        name="witness-unheard",
        fault="a log that is behind its witness opens",
        file=RECOVERY,
        text="self._hash_there == witness.hash:",
        instead="self._hash_there != '-':",
        killer="tests/eventlog/test_witness.py::test_a_log_that_ends_before_its_witness_is_refused_and_not_changed",
    ),
    Mutant(
        name="nothing-set-aside",
        fault="a torn end is thrown away",
        file=RECOVERY,
        text="        _set_aside(folder, scan, epoch=epoch)\n",
        instead="        pass\n",
        killer="tests/eventlog/test_recovery.py::test_what_was_torn_off_is_kept_and_told",
    ),
    Mutant(
        name="kept-without-sync",
        fault="what recovery keeps may still be in the page cache only",
        file=RECOVERY,
        text="            sync_file(segments[-1].path, fs=fs)\n",
        instead="            pass\n",
        killer="tests/eventlog/test_recovery.py::test_recovery_syncs_what_it_keeps_before_it_replaces_anything",
    ),
    Mutant(
        name="poison-ignored",
        fault="after an I/O error the pages are believed that the kernel calls clean",
        file=RECOVERY,
        text='    if judgement.verdict == "TORN" or poisoned:',
        instead='    if judgement.verdict == "TORN":',
        killer="tests/eventlog/test_recovery.py::test_a_poison_note_makes_the_next_opening_copy_forward",
    ),
    # --- readers ---
    Mutant(
        name="reader-ahead",
        fault="a reader shows what is not known to be durable",
        file="eventlog/reader.py",
        text="waiting[0][0].line.last <= raw.line.durable",
        instead="waiting[0][0].line.last <= raw.line.durable + 1",
        killer="tests/eventlog/test_reader.py",
    ),
    # --- rotation ---
    Mutant(
        name="never-full",
        fault="a segment grows without bound",
        file=LOG,
        text="self.head.bytes + size > self._segment_bytes and",
        instead="self.head.bytes + size > self._segment_bytes * 10**6 and",
        killer="tests/eventlog/test_segments.py::test_a_segment_takes_what_fits_and_its_successor_is_named_after_the_next_record",
    ),
    Mutant(
        name="segment-off-by-one",
        fault="a new segment is named after the last record of the one before",
        file=LOG,
        text="        first = head.seq + 1\n        path =",
        instead="        first = head.seq\n        path =",
        killer="tests/eventlog/test_segments.py::test_a_segment_takes_what_fits_and_its_successor_is_named_after_the_next_record",
    ),
    Mutant(
        name="rotated-waypoint-lost",
        fault="a replay does not know where a new segment begins",
        file=LOG,
        text="self.head = replace(head, bytes=0)",
        instead="self.head = head",
        killer="tests/eventlog/test_segments.py::test_a_rotated_log_is_replayed_read_verified_and_closed_as_one",
    ),
    Mutant(
        name="full-segment-torn",
        fault="damage at the end of a segment that has a successor is taken for a torn end",
        file=RECOVERY,
        text="    return scan.in_last_segment and not scan.segment.problem",
        instead="    return scan.index >= len(scan.segments) - 2 and not scan.segment.problem",
        killer="tests/eventlog/test_segments.py::test_14_any_damage_in_the_second_to_last_segment_is_corrupt_and_never_torn",
    ),
    Mutant(
        name="link-not-compared",
        fault="a whole frame is taken whatever frame it says is before it",
        file="eventlog/chain.py",
        text="    if line.prev != link.hash:",
        instead="    if not line.prev:",
        killer="tests/eventlog/test_recovery.py::test_an_undamaged_frame_that_does_not_continue_the_chain_is_not_taken",
    ),
    # --- sealing ---
    Mutant(
        name="seal-unproven",
        fault="a damaged segment is sealed up to its damage",
        file=SEALING,
        text="    if scan.gap is not None and scan.offset < segment.size:",
        instead="    if scan.gap is not None and scan.offset < 0:",
        killer="tests/eventlog/test_compressed.py::test_a_damaged_or_torn_segment_is_not_sealed",
    ),
    Mutant(
        name="seal-not-compared",
        fault="the raw file is removed although the sealed one gives back something else",
        file=SEALING,
        text="            if piece != given_back:",
        instead="            if not piece:",
        killer="tests/eventlog/test_compressed.py::test_a_segment_that_changes_while_it_is_sealed_is_not_sealed",
    ),
    Mutant(
        name="raw-without-seal",
        fault="the raw file goes before anybody has looked at what stands for it",
        file=SEALING,
        text="    _require_same(segment_path(folder, first=first), sealed_path(folder, first=first), manifest, fs)\n",
        instead="",
        killer="tests/eventlog/test_compressed.py::test_the_raw_file_goes_only_when_the_sealed_one_stands_for_it",
    ),
    Mutant(
        name="no-checksum",
        fault="zstd frames are written without a checksum",
        file=SEALING,
        text="write_checksum=True",
        instead="write_checksum=False",
        killer="tests/eventlog/test_compressed.py::test_a_sealed_segment_gives_back_its_bytes",
    ),
    Mutant(
        name="frame-size-believed",
        fault="a frame that announces any size is decompressed",
        file=SEALED,
        text="            if (header.content_size, header.dict_id, header.has_checksum) != (expected, 0, True):",
        instead="            if (header.dict_id, header.has_checksum) != (0, True):",
        killer="tests/eventlog/test_compressed.py::test_30_a_hostile_frame_is_refused_by_name_and_costs_no_memory",
    ),
    Mutant(
        name="manifest-form",
        fault="a manifest with a key that stands twice is read",
        file="eventlog/manifest.py",
        text="    if _encoder.encode(manifest) != found[1].encode():",
        instead="    if not found[1]:",
        killer="tests/eventlog/test_compressed.py::test_31_a_hostile_manifest_is_refused_by_name",
    ),
    Mutant(
        name="manifest-unsigned",
        fault="a signature that was taken off is not missed",
        file="eventlog/manifest.py",
        text="    if manifest.key and not note.signatures:",
        instead="    if manifest.key and note.signatures == [None]:",
        killer="tests/eventlog/test_compressed.py::test_29_a_signature_that_was_taken_off_or_made_by_another_key_is_named",
    ),
    # --- the tree, checkpoints ---
    Mutant(
        name="leaf-is-node",
        fault="leaves are hashed as inner nodes are",
        file="eventlog/merkle.py",
        text='            self.append(sha256(b"\\x00" + line).digest())',
        instead='            self.append(sha256(b"\\x01" + line).digest())',
        killer="tests/eventlog/test_merkle.py::test_a_frame_adds_its_lines_without_their_breaks",
    ),
    Mutant(
        name="peaks-swapped",
        fault="a root takes its peaks in the wrong order",
        file="eventlog/merkle.py",
        text="            root = node_hash(peak, root)",
        instead="            root = node_hash(root, peak)",
        killer="tests/eventlog/test_merkle.py::test_the_roots_are_those_published_at_every_size",
    ),
    Mutant(
        name="proof-left-over",
        fault="a consistency proof that does not reach the new root holds",
        file="eventlog/merkle.py",
        text="    return last == 0 and old_node == old_root and new_node == new_root",
        instead="    return last == 0 and old_node == old_root",
        killer="tests/eventlog/test_merkle.py::test_every_proof_of_every_small_tree_holds_and_none_holds_when_changed",
    ),
    Mutant(
        name="signed-without-audit",
        fault="a head is signed whatever the audit finds",
        file="eventlog/signing.py",
        text='        if audit.verdict != "OK":',
        instead='        if audit.verdict == "-":',
        killer="tests/eventlog/test_checkpoint.py::test_another_history_of_the_same_length_is_found_and_not_signed",
    ),
    Mutant(
        name="who-and-when-unseen",
        fault="a checkpoint is compared by its records alone",
        file="eventlog/checkpoint.py",
        text="        if line is None or (line.hash, line.last) != (checkpoint.hash, checkpoint.size):",
        instead="        if line is None or line.last != checkpoint.size:",
        killer="tests/eventlog/test_checkpoint.py::test_the_same_records_by_another_actor_are_found_too",
    ),
    Mutant(
        name="anchor-of-another",
        fault="the anchor of another log is compared with this one",
        file="eventlog/checkpoint.py",
        text="    if checkpoint.log_id != log_id:",
        instead="    if not checkpoint.log_id:",
        killer="tests/eventlog/test_checkpoint.py::test_32_a_note_of_another_log_is_named",
    ),
    # --- snapshots ---
    Mutant(
        name="snapshot-prefix",
        fault="a snapshot is believed although the log's bytes before it have changed",
        file=SNAPSHOT,
        text="    if _prefix_digest(segments, until=at) != header.prefix:",
        instead="    if not header.prefix:",
        killer="tests/eventlog/test_snapshot.py::test_40_what_does_not_fit_is_ignored_with_the_reason",
    ),
    Mutant(
        name="snapshot-of-other-code",
        fault="a snapshot that other code made is gone on from",
        file=SNAPSHOT,
        text="    if header.code != code:",
        instead="    if not header.code:",
        killer="tests/eventlog/test_snapshot.py::test_40_one_of_other_code_or_of_another_log_is_ignored",
    ),
    Mutant(
        name="snapshot-state-unseen",
        fault="a damaged state is thawed",
        file=SNAPSHOT,
        text="    if header.state != blake3(state).hexdigest():",
        instead="    if not header.state:",
        killer="tests/eventlog/test_snapshot.py::test_40_what_does_not_fit_is_ignored_with_the_reason",
    ),
    Mutant(
        name="snapshot-after-crash",
        fault="a snapshot spares the walk over a log that was not closed in order",
        file=RECOVERY,
        text="    if snapshot is not None and closed is not None and",
        instead="    if snapshot is not None and",
        killer="tests/eventlog/test_snapshot.py::test_after_a_crash_the_whole_log_is_walked",
    ),
    Mutant(
        name="snapshot-forgets-receipts",
        fault="a request that is sent again after a snapshot is carried out again",
        file="reducers/snapshot.py",
        text="        state.receipts.put(key, receipt)\n",
        instead="        pass\n",
        killer="tests/reducers/test_snapshot.py::test_the_receipts_come_back_in_their_order",
    ),
    # --- parts of the log ---
    Mutant(
        name="slice-not-checked",
        fault="a slice is handed on that its own verifier would not pass",
        file="eventlog/slices.py",
        text='    if report["verdict"] != "OK":',
        instead='    if report["verdict"] == "-":',
        killer="tests/eventlog/test_slices.py::test_a_log_that_breaks_a_rule_is_not_handed_on_as_whole",
    ),
    Mutant(
        name="slice-too-long",
        fault="a slice goes on behind the last record that was asked for",
        file="eventlog/slices.py",
        text="        if last is not None and line.first > last:",
        instead="        if last is not None and line.first > last + 1:",
        killer="tests/eventlog/test_slices.py::test_every_slice_of_a_log_is_whole_and_holds_what_was_asked_for",
    ),
    Mutant(
        name="slice-without-proof",
        fault="a slice before the anchor carries no proof that it is under it",
        file="eventlog/slices.py",
        text="    return replace(made, proof=tuple(node.hex() for node in proof))",
        instead="    return made if proof else made",
        killer="tests/eventlog/test_slices.py::test_every_slice_of_a_log_is_whole_and_holds_what_was_asked_for",
    ),
    # --- receipts ---
    Mutant(
        name="stale-epoch",
        fault="a producer that fell back into an earlier life is served",
        file="commands/handle.py",
        text="    if receipt is None and stamp.epoch < newest:",
        instead="    if receipt is None and stamp.epoch < 0:",
        killer="tests/commands/test_receipts.py::test_a_producer_that_falls_back_into_an_earlier_epoch_is_refused",
    ),
    Mutant(
        name="receipts-without-bound",
        fault="every request that ever came is remembered",
        file="reducers/receipts.py",
        text="        while len(self._known) > RECEIPTS_MAX:",
        instead="        while len(self._known) > RECEIPTS_MAX * 10**6:",
        killer="tests/commands/test_receipts.py::test_the_receipts_are_bounded_and_the_oldest_go_first",
    ),
    # --- the read model ---
    Mutant(
        name="checkpoint-apart",
        fault="a projector that fell behind writes over the checkpoint of another",
        file="projections/projector.py",
        text="        if changed != 1:",
        instead="        if changed > 1:",
        killer="tests/projections/test_projector.py::test_42_a_second_projector_that_fell_behind_is_told_so",
    ),
    Mutant(
        name="any-log-will-do",
        fault="the read model of another log is gone on from",
        file="projections/readmodel.py",
        text="    if at.log_id != log_id:",
        instead="    if not at.log_id:",
        killer="tests/projections/test_readmodel.py::test_42_the_read_model_of_another_log_is_rebuilt",
    ),
    # --- deciding ---
    Mutant(
        name="answer-before-commit",
        fault="who asked is answered before the frame is durable",
        file="commands/handle.py",
        text="        if drafts:\n            frames = self._log.commit(drafts)",
        instead=(
            "        settle((request, each) for request, each in answers if not isinstance(each, Receipt))\n"
            "        if drafts:\n            frames = self._log.commit(drafts)"
        ),
        killer="tests/commands/test_handle.py",
    ),
    Mutant(
        name="receipts-forgotten",
        fault="a request that is sent again after a restart is carried out again",
        file="commands/handle.py",
        text="                    self._state.receipts.fold(frame)\n",
        instead="",
        killer="tests/commands/test_receipts.py",
    ),
    Mutant(
        name="digest-not-compared",
        fault="another request under a used stamp gets the first one's answer",
        file="commands/handle.py",
        text="receipt.digest != stamp.digest",
        instead="receipt.digest == ''",
        killer="tests/commands/test_receipts.py",
    ),
    # --- the second copy ---
    Mutant(
        name="backup-seals-the-end",
        fault="the last segment of a copy is taken sealed, with nothing behind it",
        file="eventlog/backup.py",
        text="self._raw(segments[end.index], end.offset)",
        instead="self._full(segments[end.index])",
        killer="tests/eventlog/test_backup.py::test_46_the_last_segment_may_fill_and_be_sealed_after_its_end_was_seen",
    ),
    Mutant(
        name="backup-spreads-another-history",
        fault="a copy is replaced by what does not begin with it",
        file="eventlog/backup.py",
        text="        if not fits:\n",
        instead="        if False:\n",
        killer="tests/eventlog/test_backup.py::test_another_history_and_a_shorter_one_do_not_replace_the_copy",
    ),
    Mutant(
        name="repair-unproven",
        fault="a repair is made without an audit of its result",
        file="eventlog/repair.py",
        text="        _require_proven(plan, verification)\n",
        instead="",
        killer="tests/eventlog/test_repair.py::test_an_anchor_that_has_seen_more_is_not_contradicted",
    ),
    Mutant(
        name="repair-untold",
        fault="a repair is not noted before its first rename",
        file="eventlog/repair.py",
        text="    write_note(plan.folder, epoch=epoch, repairs=tuple(told.values()), fs=fs)\n",
        instead="",
        killer="tests/eventlog/test_repair.py::test_what_an_opening_tells_of_it_tells_once",
    ),
    Mutant(
        name="repair-cuts",
        fault="a log is cut where its copy ends",
        file="eventlog/repair.py",
        text="option.raw_bytes >= ours.size",
        instead="option.raw_bytes >= 0",
        killer="tests/eventlog/test_repair.py::test_a_log_is_not_cut_where_the_copy_ends_although_the_damage_goes_on_there",
    ),
)
