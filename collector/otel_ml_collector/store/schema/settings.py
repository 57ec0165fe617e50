"""Settings of the engine that tables share, each for a measured reason."""

from typing import Final

# An insert and a merge are on disk before they are acknowledged; replaced parts stay until the
# merged one is surely there. Small parts are compact: 30 fsyncs an insert instead of 131.
DURABLE: Final = (
    "fsync_after_insert = 1, fsync_part_directory = 1, "
    "min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, "
    "old_parts_lifetime = 480, min_bytes_for_wide_part = 134217728"
)

# Merges wait for more parts of one size: under load a row is rewritten half as often as with the
# engine's own 5, for a few parts more that a scan reads.
MERGES: Final = "merge_selector_base = 8"

# A Map is read by key only when it is kept in buckets.
BUCKETS: Final = (
    "map_serialization_version = 'with_buckets', "
    "map_serialization_version_for_zero_level_parts = 'with_buckets', "
    "map_buckets_min_avg_size = 0, map_buckets_strategy = 'constant', max_buckets_in_map = 4"
)
