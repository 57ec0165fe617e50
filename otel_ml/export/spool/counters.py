"""What happened to the frames of one spool, in numbers."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Counts since the spool was made, or since the fork in a child.

    Attributes:
        written: Frames on disk, held ones included.
        write_failed: Frames that the disk refused.
        damaged: Places where bytes were no frames: torn tails, flipped bits, headers.
        damaged_bytes: Bytes in these places.
        dropped_by_limit: Frames to send that were removed, oldest first, to keep the limits.
        vanished: Frames to send whose file somebody removed; those of the file that was being
            written are still delivered while the process lives.
        adopted: Frames to send that were taken over from processes that ended.
    """

    written: int = 0
    write_failed: int = 0
    damaged: int = 0
    damaged_bytes: int = 0
    dropped_by_limit: int = 0
    vanished: int = 0
    adopted: int = 0
