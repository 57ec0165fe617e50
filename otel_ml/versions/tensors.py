"""Computes digests of PyTorch tensors on their own device: weights on a GPU are not copied.

A tensor's bytes are read in blocks of 2 MB. Each block gives two sums. For a sum, each 64-bit word
is multiplied by its own fixed random odd number; the products are added modulo 2**64. This is
integer arithmetic, so CPU and GPU give the same sums.

Source: Carter, Wegman, Universal classes of hash functions, Journal of Computer and System Sciences
18 (1979).
"""

import functools
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

_WORD_BYTES: Final = 8
_BLOCK_WORDS: Final = 2 * 1024 * 1024 // _WORD_BYTES  # changing this changes every version
# blocks per piece on a GPU: few, so that neither the interpreter nor the GPU is busy for long
_GPU_BLOCKS: Final = 8
# so few that PyTorch computes them on the calling thread, and takes no cores from the service
_STRIP_WORDS: Final = 32_768
_PAUSE_S: Final = 0.0005  # pause between pieces, in which other threads run
_LOW_HALF: Final = (1 << 32) - 1


def _signed(number: int) -> int:
    """Convert an unsigned 64-bit number to the int64 with the same bits."""
    return number - 2**64 if number >= 2**63 else number


# constants of SplitMix64, which makes the random numbers
_STEP: Final = _signed(0x9E3779B97F4A7C15)
_FACTORS: Final = (
    (30, _signed(0xBF58476D1CE4E5B9)),
    (27, _signed(0x94D049BB133111EB)),
    (31, 1),
)


class TensorReader:
    """Computes digests of tensors, one after another. It reuses its buffers."""

    def __init__(self) -> None:
        self._buffers: dict[Any, tuple[Any, Any]] = {}
        self._numbers: dict[Any, Any] = {}
        self._streams: dict[Any, Any] = {}

    def read(self, tensor: Any) -> bytes:
        """Return a digest of a tensor's values, to tell whether they changed.

        The digest has 16 bytes for each 2 MB of the tensor: two 64-bit sums.

        Args:
            tensor: A dense tensor on a CPU or a GPU. It is not changed, and no gradient is
                computed.

        Raises:
            RuntimeError: The tensor's memory cannot be read, for example on the device ``meta``.
        """
        torch = sys.modules["torch"]
        with torch.no_grad():
            whole = tensor.detach()
            if whole.is_complex():
                whole = torch.view_as_real(whole)
            flat = whole.contiguous().reshape(-1).view(torch.uint8)
            if flat.device.type != "cuda":
                numbers = [*self._add_pieces(torch, flat, _BLOCK_WORDS)]
            else:
                with torch.cuda.device(flat.device), torch.cuda.stream(self._stream(torch, flat)):
                    numbers = [*self._add_pieces(torch, flat, _GPU_BLOCKS * _BLOCK_WORDS)]
            sums = torch.cat(numbers).tolist()
        return struct.pack(f"<{len(sums)}q", *sums)

    def _stream(self, torch: Any, flat: Any) -> Any:
        """Return a CUDA stream to read on. It first waits for work queued on the current stream."""
        stream = self._streams.get(flat.device)
        if stream is None:
            stream = self._streams[flat.device] = torch.cuda.Stream(flat.device)
        stream.wait_stream(torch.cuda.current_stream(flat.device))
        return stream

    def _add_pieces(self, torch: Any, flat: Any, piece_words: int) -> Iterator[Any]:
        """Return the sums of each piece: an int64 tensor with two numbers for each block."""
        size_bytes = piece_words * _WORD_BYTES
        for start in range(0, flat.numel(), size_bytes):
            words = _words_of(torch, flat[start : start + size_bytes])
            whole = words.numel() // _BLOCK_WORDS * _BLOCK_WORDS
            if whole:
                yield self._add(torch, words[:whole].reshape(-1, _BLOCK_WORDS), piece_words)
            if whole < words.numel():
                yield self._add(torch, words[whole:].reshape(1, -1), piece_words)
            if flat.device.type == "cuda":
                _wait_for_gpu(torch)
            elif flat.numel() > size_bytes:
                time.sleep(_PAUSE_S)

    def _add(self, torch: Any, words: Any, piece_words: int) -> Any:
        rows, width = words.shape
        first, second = self._room(torch, words.device, piece_words)
        random = self._random(words.device, width)
        step = width if words.device.type == "cuda" else _STRIP_WORDS
        sums = torch.zeros(rows, len(random), dtype=torch.int64, device=words.device)
        for start in range(0, width, step):
            strip = words[:, start : start + step]
            mixed, product = (
                buffer[: strip.numel()].view(strip.shape) for buffer in (first, second)
            )
            # mix the upper half into the lower one, or two changed signs could cancel out
            torch.bitwise_right_shift(strip, 32, out=mixed)
            mixed.bitwise_and_(_LOW_HALF).bitwise_xor_(strip)
            for place, row in enumerate(random):
                torch.mul(mixed, row[start : start + strip.shape[1]], out=product)
                sums[:, place] += product.sum(dim=1)
        return sums.reshape(-1)

    def _room(self, torch: Any, device: Any, piece_words: int) -> tuple[Any, Any]:
        """Return two buffers of the size of a piece."""
        known = self._buffers.get(device)
        if known is None:
            first = torch.empty(piece_words, dtype=torch.int64, device=device)
            known = self._buffers[device] = (first, torch.empty_like(first))
        return known

    def _random(self, device: Any, width: int) -> Any:
        """Return two rows of random numbers for blocks of at least `width` words.

        Making all of them takes some 10 ms, which a small model must not cost its first call.
        """
        known = self._numbers.get(device)
        if known is None or known.shape[1] < width:
            made = min(1 << (width - 1).bit_length(), _BLOCK_WORDS)
            known = self._numbers[device] = _make_random(made).to(device)
        return known


def _words_of(torch: Any, part: Any) -> Any:
    """Convert bytes to 64-bit words. The last word is filled up with zeros."""
    missing = -part.numel() % _WORD_BYTES
    if missing or part.data_ptr() % _WORD_BYTES or part.storage_offset() % _WORD_BYTES:
        padded = torch.zeros(part.numel() + missing, dtype=torch.uint8, device=part.device)
        padded[: part.numel()] = part
        part = padded
    return part.view(torch.int64)


def _wait_for_gpu(torch: Any) -> None:
    """Wait until the GPU has finished a piece. Other threads can run meanwhile."""
    done = torch.cuda.Event()
    done.record()
    while not done.query():
        time.sleep(_PAUSE_S)


@functools.lru_cache(maxsize=16)
def _make_random(width: int) -> Any:
    """Return two rows of random odd numbers, the same in every process.

    A wider result begins with the numbers of a narrower one. The widest takes 4 MB.
    """
    torch = sys.modules["torch"]
    starts = (1, _BLOCK_WORDS + 1)
    rows = [torch.arange(start, start + width, dtype=torch.int64) for start in starts]
    numbers = torch.stack(rows).mul_(_STEP)
    for shift, factor in _FACTORS:
        shifted = torch.bitwise_right_shift(numbers, shift)
        numbers.bitwise_xor_(shifted.bitwise_and_((1 << (64 - shift)) - 1)).mul_(factor)
    return numbers.bitwise_or_(1)
