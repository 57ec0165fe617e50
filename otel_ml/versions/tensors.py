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
from collections.abc import Callable, Iterator
from typing import Any, Final

_WORD_BYTES: Final = 8
_BLOCK_WORDS: Final = 2 * 1024 * 1024 // _WORD_BYTES  # a different size changes every version
# Blocks per piece on a GPU. Each operation takes Python's lock, which all threads of a service
# need. So a piece is large: 64 MB, which a GPU can read in 0.3 ms. The two buffers are as large. If
# less than 1 GiB is free, pieces have 8 MB.
_GPU_BLOCKS: Final = 32
_GPU_BLOCKS_IF_SCARCE: Final = 4
_SCARCE_BYTES: Final = 1 << 30
# PyTorch computes up to this many on the calling thread, so no cores are taken from the service
_STRIP_WORDS: Final = 32_768
_PAUSE_S: Final = 0.0005  # other threads run between pieces
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
    """Computes digests of tensors, one after another. It reuses its buffers.

    Args:
        check: Called before each piece of a tensor. It may raise to stop.
    """

    def __init__(self, check: Callable[[], object] = lambda: None) -> None:
        self._check = check
        self._buffers: dict[Any, tuple[Any, Any]] = {}
        self._numbers: dict[Any, Any] = {}
        self._gpu_blocks: dict[Any, int] = {}

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
                    blocks = self._blocks_of_piece(torch, flat.device)
                    numbers = [*self._add_pieces(torch, flat, blocks * _BLOCK_WORDS)]
            sums = torch.cat(numbers).tolist()
        return struct.pack(f"<{len(sums)}q", *sums)

    def _stream(self, torch: Any, flat: Any) -> Any:
        """Return a CUDA stream to read on. It first waits for work queued on the current stream."""
        stream = _streams.get(flat.device)
        if stream is None:
            stream = _streams[flat.device] = torch.cuda.Stream(flat.device)
        stream.wait_stream(torch.cuda.current_stream(flat.device))
        return stream

    def _blocks_of_piece(self, torch: Any, device: Any) -> int:
        blocks = self._gpu_blocks.get(device)
        if blocks is None:
            free, _ = torch.cuda.mem_get_info(device)
            blocks = _GPU_BLOCKS_IF_SCARCE if free < _SCARCE_BYTES else _GPU_BLOCKS
            self._gpu_blocks[device] = blocks
        return blocks

    def _add_pieces(self, torch: Any, flat: Any, piece_words: int) -> Iterator[Any]:
        """Return the sums of each piece: an int64 tensor with two numbers for each block."""
        size_bytes = piece_words * _WORD_BYTES
        for start in range(0, flat.numel(), size_bytes):
            self._check()
            words = _words_of(torch, flat[start : start + size_bytes])
            whole = words.numel() // _BLOCK_WORDS * _BLOCK_WORDS
            add = self._add_at_once if flat.is_cuda else self._add_in_strips
            if whole:
                yield add(torch, words[:whole].view(-1, _BLOCK_WORDS))
            if whole < words.numel():
                yield add(torch, words[whole:].view(1, -1))
            if flat.is_cuda:
                _wait_for_gpu(torch)
            elif flat.numel() > size_bytes:
                time.sleep(_PAUSE_S)

    def _add_in_strips(self, torch: Any, words: Any) -> Any:
        """Return two sums for each row of words."""
        rows, width = words.shape
        random = self._random(words.device, width)
        sums = torch.zeros(rows, len(random), dtype=torch.int64, device=words.device)
        for start in range(0, width, _STRIP_WORDS):
            strip = words[:, start : start + _STRIP_WORDS]
            mixed, product = self._room(torch, strip)
            _mix(torch, strip, mixed)
            for place, row in enumerate(random):
                torch.mul(mixed, row[start : start + strip.shape[1]], out=product)
                sums[:, place] += product.sum(dim=1)
        return sums.view(-1)

    def _add_at_once(self, torch: Any, words: Any) -> Any:
        """Return the same as `_add_in_strips`, with as few operations as possible."""
        width = words.shape[1]
        mixed, product = self._room(torch, words)
        _mix(torch, words, mixed)
        sums = []
        for row in self._random(words.device, width):
            torch.mul(mixed, row if row.numel() == width else row[:width], out=product)
            sums.append(product.sum(dim=1))
        return torch.stack(sums, dim=1).view(-1)

    def _room(self, torch: Any, words: Any) -> tuple[Any, Any]:
        """Return two buffers of the same shape as `words`."""
        known = self._buffers.get(words.device)
        if known is not None and known[0].shape == words.shape:
            return known
        if known is not None and known[0].numel() >= words.numel():
            first, second = (buffer.view(-1)[: words.numel()].view(words.shape) for buffer in known)
            return first, second
        first = torch.empty_like(words)
        known = self._buffers[words.device] = (first, torch.empty_like(first))
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


def _mix(torch: Any, words: Any, mixed: Any) -> None:
    """Mix the upper half of each word into the lower one, or two changed signs could cancel out."""
    torch.bitwise_right_shift(words, 32, out=mixed)
    mixed.bitwise_and_(_LOW_HALF).bitwise_xor_(words)


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
    time.sleep(_PAUSE_S)
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


# CUDA stream of each device. PyTorch keeps freed memory for the stream that used it, so the next
# model can reuse the memory.
_streams: Final[dict[Any, Any]] = {}
