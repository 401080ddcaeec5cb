"""The selective scan as Triton kernels for NVIDIA GPUs.

Triton comes with PyTorch's CUDA builds. It is imported when a scan on a GPU first asks for it, never before, and the
kernels are compiled for the machine at hand; nothing has to be installed. Before a kernel is trusted, small scans are
compared with plain PyTorch on the same device. ``order`` is not checked.

Where the kernels were proven so far: under Triton's interpreter on a CPU, values and all gradients. They compile for
compute capability 9.0 (Triton 3.4 and 3.9) and 8.0 (3.9), but have not run on a GPU yet; ``tools/benchmark.py check``
does that, and measures them.
"""

from .launch import backward, forward
from .plan import MAX_STATES, saved_shape
from .probe import DEVICE_TYPE, obstacle

__all__ = ["DEVICE_TYPE", "MAX_STATES", "backward", "forward", "obstacle", "saved_shape"]
