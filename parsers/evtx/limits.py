"""Owns the bounds of what is held and tried while a log is read, each with its unit."""

from typing import Final

HASH_BYTES: Final = 128 * 1024  # read at a time into the same memory, which stays in the processor's cache
WHOLE_BYTES_MAX: Final = 256 * 1024  # of a file that is read at once: of a small one, calls of the system cost most
BATCH_ROWS = 1_000  # a batch ends with the chunk in which it reaches this; measured: more falls out of the cache
BATCH_TEXT_MAX = 16 * 1024 * 1024  # characters of JSON
SIDE_BATCH_ROWS = 10_000  # key-value rows and notes are gathered up to this
RETRIES_PER_CHUNK_MAX: Final = 16  # how often a decoder that stopped inside a chunk is started behind that place
REASON_CHARACTERS_MAX: Final = 300
NOTE_CHARACTERS_MAX: Final = 10_000
NAMES_IN_BUCKET_MAX: Final = 1_000
DATA_OPENS_MAX: Final = 20_000  # in a chunk
