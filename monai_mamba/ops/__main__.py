"""Say which backends of the selective scan this machine can use, and why: ``python -m monai_mamba.ops``."""

from __future__ import annotations

import torch

from . import explain


def main() -> None:
    """Explain the choice for the CPU, and for a GPU where there is one."""
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        print(f"{device}: {explain(device)}")


if __name__ == "__main__":
    main()
