"""Why a network marks a lesion: trains a segmentation, and hides one structure after another of an image.

The images are noise with an organ, a striped ellipse, and two bright spots as large: one in the organ, which is a
lesion, and one beside it, which is none.  So the network must look at what is around a spot.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import kdb

SIDE = 64
SPOT = 3
"""Radius of a spot, in pixels."""
LABELS = ("background", "lesion")
STRUCTURES = {1: "the organ", 2: "the lesion", 3: "the spot beside the organ", 4: "a corner"}


def images(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(images [n, y, x, 1], structures [n, y, x]): which of STRUCTURES each pixel is of; 0 for none."""
    random = np.random.default_rng(seed)
    y, x = np.indices((SIDE, SIDE))
    pictures = random.normal(0, 0.25, (count, SIDE, SIDE))
    structures = np.zeros((count, SIDE, SIDE), np.int64)
    for picture, structure in zip(pictures, structures, strict=True):
        middle, radii = random.uniform(24, 40, 2), random.uniform(11, 16, 2)
        organ = ((y - middle[0]) / radii[0]) ** 2 + ((x - middle[1]) / radii[1]) ** 2 <= 1
        picture[organ] += 0.6 * np.sin(1.6 * (x + y))[organ]
        structure[:10, :10], structure[organ] = 4, 1
        inner = middle + random.uniform(-0.5, 0.5, 2) * radii
        angle = random.uniform(0, 2 * np.pi)
        outer = np.clip(middle + (radii + 8) * [np.sin(angle), np.cos(angle)], SPOT + 1, SIDE - SPOT - 2)
        for kind, (row, column) in ((2, inner), (3, outer)):
            spot = (y - row) ** 2 + (x - column) ** 2 <= SPOT**2
            if kind == 3 and (spot & organ).any():
                continue
            picture[spot] = 1.5
            structure[spot] = kind
    return pictures[..., None].astype(np.float32), structures


class UNet(nn.Module):
    """Two levels down and up again, with skip connections."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = _block(1, 8), _block(8, 16), _block(16, 32)
        self.pool = nn.MaxPool2d(2)
        self.up_second, self.up_first = nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)
        self.join_second, self.join_first, self.out = _block(32, 16), _block(16, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of background and lesion, [N, 2, y, x]."""
        first = self.first(x)
        second = self.second(self.pool(first))
        x = self.up_second(self.third(self.pool(second)))
        x = self.up_first(self.join_second(torch.cat([second, x], 1)))
        logits: Tensor = self.out(self.join_first(torch.cat([first, x], 1)))
        return logits


def _block(taken: int, given: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for inner in (taken, given):
        parts += [nn.Conv2d(inner, given, 3, padding=1), nn.BatchNorm2d(given), nn.ReLU()]
    return nn.Sequential(*parts)


def trained(net: nn.Module, count: int, epochs: int) -> nn.Module:
    """The network after so many epochs."""
    pictures, structures = images(count, seed=0)
    x, y = torch.from_numpy(pictures).movedim(-1, 1), torch.from_numpy((structures == 2).astype(np.int64))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    weights = torch.tensor([1.0, 10.0])
    for epoch in range(epochs):
        for batch in torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch)).split(16):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch], weights).backward()
            optimizer.step()
    return net.eval()


def main(count: int = 256, epochs: int = 12) -> tuple[kdb.HeatMap, kdb.HeatMap]:
    """Train, test, and explain the first test image: by its structures, and by a patch that moves."""
    torch.manual_seed(0)
    net = trained(UNet(), count, epochs)
    pictures, structures = images(32, seed=1)
    with torch.no_grad():
        found = net(torch.from_numpy(pictures).movedim(-1, 1)).argmax(1).numpy() == 1
    lesions, others = structures == 2, structures == 3
    print(f"{found[lesions].mean():.0%} of the lesions' pixels are marked")
    print(f"{found[others].mean():.0%} of those of the spots beside an organ are")

    db = kdb.connect()
    db.register_model(
        "lesions", net, input_size=(SIDE, SIDE), n_channels=1, mean=0, std=1, labels=LABELS, background="background"
    )
    parameters = {"image": pictures[0], "structures": structures[0]}
    scored = "USING lesions FOR CLASS 'lesion' SCORE drop"
    by_structure = db.execute(f"OCCLUDE $image WITH segments($structures) {scored}", parameters)
    by_patch = db.execute(f"OCCLUDE $image WITH patch(6) STRIDE 2 {scored}", parameters)
    assert isinstance(by_structure, kdb.HeatMap) and isinstance(by_patch, kdb.HeatMap), "of one image"
    assert by_structure.segments is not None, "they were asked for"
    for label, drop in zip(by_structure.segments.tolist(), by_structure.values.tolist(), strict=True):
        print(f"without {STRUCTURES[label]} the lesion loses {drop:.2f} of {by_structure.baseline:.2f}")
    figure = kdb.plot([by_structure, by_patch])
    figure.savefig("lesion.png", dpi=100)
    print("wrote lesion.png")
    return by_structure, by_patch


if __name__ == "__main__":
    main()
