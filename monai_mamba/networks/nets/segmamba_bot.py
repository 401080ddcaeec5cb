"""SegMambaBot: MedSegMamba's CNN with SegMamba's tri-oriented mixer in the bottleneck."""

from __future__ import annotations

from typing import Any

from monai_mamba.networks.nets.medsegmamba import SMALL, MedSegMamba


class SegMambaBot(MedSegMamba):
    """The control network of the MedSegMamba paper (arXiv 2409.08307): :class:`MedSegMamba` with another mixer.

    In every bottleneck block the tri-oriented Mamba of SegMamba takes the place of the eight serpentine scans; the
    LayerNorms, the residuals and the MLP stay. Its code and its numbers of states and channels are not published: the
    defaults here are SegMamba's, which give 108,251,744 parameters for 32 classes and agree with the paper's "about 20
    % fewer" for MedSegMamba. Arguments are those of :class:`MedSegMamba`.
    """

    def __init__(
        self, *, d_state: int = 16, expand: int = 2, mixer: str | None = "tri_oriented", **kwargs: Any
    ) -> None:
        super().__init__(d_state=d_state, expand=expand, mixer=mixer, **kwargs)


def segmamba_bot_small(in_channels: int = 1, out_channels: int = 32, **kwargs: Any) -> SegMambaBot:
    """The twin of :func:`medsegmamba_small` with the tri-oriented mixer."""
    return SegMambaBot(in_channels=in_channels, out_channels=out_channels, **{**SMALL, **kwargs})
