"""Which part of a scan a 3-D network looks at: trains one, and explains a scan from its file to a map over it.

The volumes are noise with a body in it, a ball or a cube as large, at a random place; the network tells which.  One of
them is written as a NIfTI file, as a scanner's software would, and explained.
"""

from __future__ import annotations

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import kdb

SIZE = (24, 32, 32)
RADIUS = 5
LABELS = ("ball", "cube")
AFFINE = np.array([[0, 0, 2, -32], [0, 2, 0, -32], [3, 0, 0, -36], [0, 0, 0, 1.0]])
"""Where the voxels lie: the first axis runs to the head by 3 mm, the others to the front and to the right by 2 mm."""


def volumes(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """(volumes [n, z, y, x, 1], classes [n], middles of the bodies [n, 3])."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, 2, count)
    middles = random.integers(RADIUS + 1, np.array(SIZE) - RADIUS - 1, (count, 3))
    cells = np.stack(np.indices(SIZE), axis=-1)
    noise = random.normal(0, 0.3, (count, *SIZE))
    for volume, kind, middle in zip(noise, classes, middles, strict=True):
        distance = np.abs(cells - middle)
        # A cube has the volume of the ball where its side is 1.6 radii.
        inside = (distance**2).sum(-1) <= RADIUS**2 if kind == 0 else distance.max(-1) <= 0.8 * RADIUS
        volume[inside] += 1
    return noise[..., None].astype(np.float32), classes, middles


def network() -> nn.Sequential:
    """Four convolutions and a mean: small, so that it trains in half a minute."""
    layers: list[nn.Module] = []
    for taken, given in ((1, 8), (8, 16), (16, 32)):
        layers += [nn.Conv3d(taken, given, 3, stride=1 if taken == 1 else 2, padding=1), nn.ReLU()]
    layers += [nn.Conv3d(32, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(32, 2)]
    return nn.Sequential(*layers)


def trained(net: nn.Module, images: NDArray[np.float32], classes: NDArray[np.int64], epochs: int) -> nn.Module:
    """The network after so many epochs."""
    x, y = torch.from_numpy(images).movedim(-1, 1), torch.from_numpy(classes)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for epoch in range(epochs):
        for batch in torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch)).split(16):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
    return net.eval()


def main(count: int = 256, epochs: int = 8) -> kdb.HeatMap:
    """Train, test, and explain the most central cube of the test set that the network is right about."""
    torch.manual_seed(0)
    net = trained(network(), *volumes(count, seed=0)[:2], epochs)
    images, classes, middles = volumes(64, seed=1)
    with torch.no_grad():
        logits = net(torch.from_numpy(images).movedim(-1, 1)).numpy()
    right = logits.argmax(1) == classes
    print(f"{right.mean():.0%} of {len(right)} test volumes are told right")

    off = np.abs(middles - np.array(SIZE) / 2).sum(axis=1)
    chosen = int(np.where(right & (classes == 1), off, np.inf).argmin())
    nibabel.save(nibabel.Nifti1Image(images[chosen, ..., 0], AFFINE), "scan.nii.gz")
    db = kdb.connect()
    db.register_model("bodies", net, input_size=SIZE, n_channels=1, mean=0, std=1, labels=LABELS)
    heat_map = db.execute("OCCLUDE 'scan.nii.gz' WITH patch(6) STRIDE 2 USING bodies SCORE logit_drop")
    assert isinstance(heat_map, kdb.HeatMap)
    strongest = np.unravel_index(heat_map.values.argmax(), heat_map.values.shape)
    centre = heat_map.positions[strongest] + np.array(heat_map.patch) // 2
    print(f"the {LABELS[classes[chosen]]} is around {middles[chosen]}, the strongest patch around {centre}")
    print(f"{heat_map.stats.speedup:.1f} times less arithmetic than full inference")
    print(f"wrote {heat_map.save('volume.png')}")
    print(f"wrote {heat_map.save('map.nii.gz')}, a voxel for each position")
    print(f"wrote {heat_map.save('map-on-scan.nii.gz', upsample=True)}, on the voxels of scan.nii.gz")
    return heat_map


if __name__ == "__main__":
    main()
