"""Owns the bounds of what is held, looked at and remembered while a log is read, each with its unit."""

from typing import Final

BATCH_ROWS: Final = 2_000  # messages that wait at most, beside the plain ones of a block
BATCH_TEXT_MAX: Final = 8 * 1024 * 1024  # and their characters, with one message more
READ_BYTES: Final = 1024 * 1024
BLOCK_BYTES: Final = 2 * 1024 * 1024  # whole lines of so many bytes, with one read more, are looked at as one
SCANNED_BYTES_MIN: Final = 64 * 1024  # below, it takes less time to read a block line by line
LINE_BYTES_MAX: Final = 16 * 1024 * 1024  # a longer line is read in pieces
MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024  # a longer one is unreadable: its row would be too large to send
TEXT_AROUND_BYTES_MAX: Final = 64 * 1024  # of the text before a message, and behind it, that goes into its row
PREVIEW_CHARACTERS: Final = 500
JOINED_LINES_MAX: Final = 10_000  # that one message may take up
JOINED_BYTES_MAX: Final = 1024 * 1024  # and their bytes
JOINS_IN_VAIN_BYTES_MAX: Final = 64 * 1024 * 1024  # of lines that a message did not go on in; then no more is tried
NOTES_MAX: Final = 50  # of one message; the last says how many more there were
RANGES_MAX: Final = 1_000  # are named in the account, the rest is counted; fix_parse_errors has all of them
GROUP_DEPTH_MAX: Final = 8
SHAPES_MAX: Final = 1_000  # rows of tags that are remembered
SHAPE_TAGS_MAX: Final = 200  # tags in one of them
SHAPE_CHARACTERS_MAX: Final = 1_000  # of all its tags
SHAPE_LAYOUTS_MAX: Final = 8  # of one of them
LAYOUT_CHARACTERS_MAX: Final = 100  # of the type and the counts that make it a layout of its own
SCANNED_COUNTERS_MAX: Final = 16  # groups of a message that is read with its whole block
DELIMITER_TRIES_MAX: Final = 10  # beginnings of messages that are looked at for what separates the fields of a block
SIDE_ROW_CHARACTERS: Final = 100  # what a row of groups, tags or errors counts in BATCH_TEXT_MAX beside its value
