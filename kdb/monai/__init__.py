"""MONAI's ``OcclusionSensitivity``, by kdb: the same call and the same maps, computed incrementally where that can be.

    from kdb.monai import OcclusionSensitivity  # was: from monai.visualize import OcclusionSensitivity
    occlusion_map, most_probable_class = OcclusionSensitivity(model, mask_size=16, overlap=0.5)(volume)

MONAI itself is neither needed nor imported.
"""

from kdb.adapters.adapter import Report
from kdb.monai.sensitivity import OcclusionSensitivity

__all__ = ["OcclusionSensitivity", "Report"]
