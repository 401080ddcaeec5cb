"""How a scan is cut into programs, in numbers that need no GPU and no Triton to be read."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

CHANNELS = 32  # of one program: rows of 64 or 128 bytes, and B and C of a token are read once for all of them
STATES_PER_THREAD = 16  # of the running state; with its decay, B, C and one block's history this fills the registers
THREADS_PER_WARP = 32
MAX_STATES = 256
UNROLL = 4  # tokens whose inputs are asked for before the first of them is computed, and written together (`kernels`)
INTERVAL = 32  # tokens between two kept states; a multiple of UNROLL
MIN_CHUNK = 256  # tokens of a chunk at least: it costs three states of memory traffic and its decays twice
PROGRAMS_PER_MULTIPROCESSOR = 4  # that chunks are to provide


class Plan(NamedTuple):
    """How a problem is cut up.

    Attributes:
        blocks: groups of `CHANNELS` channels.
        padded_states: states of a program's tile, a power of two.
        warps: of a program.
        chunk: tokens of a chunk, a multiple of `INTERVAL`.
        chunks: that are scanned at the same time; 1 streams through the whole sequence.
    """

    blocks: int
    padded_states: int
    warps: int
    chunk: int
    chunks: int


def plan_scan(delta: Tensor, states: int, multiprocessors: int) -> Plan:
    """Cut a problem with step sizes delta, (B, K, L, E), and N states for a device with so many multiprocessors.

    One program streams through the tokens for a block of channels of one direction. Where these programs cannot even
    occupy half of the multiprocessors the tokens are cut into chunks, scanned side by side: every chunk from zero for
    its last state, one after the other to hand these on, and every chunk again from its true first state. This computes
    the decays twice, so it pays from twice the programs on.
    """
    batch, directions, length, channels = delta.shape
    blocks = -(-channels // CHANNELS)
    padded = 1 << (states - 1).bit_length()
    warps = max(CHANNELS * padded // (STATES_PER_THREAD * THREADS_PER_WARP), 1)
    programs = batch * directions * blocks
    chunks = 1
    if 2 * programs <= multiprocessors:
        chunks = max(min(-(-PROGRAMS_PER_MULTIPROCESSOR * multiprocessors // programs), length // MIN_CHUNK), 1)
    chunk = -(-length // (chunks * INTERVAL)) * INTERVAL
    return Plan(blocks, padded, warps, chunk, -(-length // chunk))


def saved_shape(delta: Tensor, states: int) -> tuple[int, ...]:
    """Shape of the states which the forward keeps for the backward; delta: (B, K, L, E)."""
    batch, directions, length, channels = delta.shape
    return (batch, directions, -(-length // INTERVAL), channels, states)
