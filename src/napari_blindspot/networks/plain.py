"""The plain U-Net: sees everything it is given, on all sides."""

from __future__ import annotations

from torch import nn

from napari_blindspot.networks.unet import UNet


class PlainUNet(UNet):
    """U-Net of ordinary 3×3 convolutions and 2×2 max pooling.

    Parameters
    ----------
    in_channels, width, depth
        As in `UNet`.
    """

    def __init__(self, in_channels: int, width: int, depth: int) -> None:
        super().__init__(
            in_channels, width, depth, conv=_same_conv, pool=nn.MaxPool2d(2)
        )


def _same_conv(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)
