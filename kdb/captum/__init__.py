"""captum's ``Occlusion``, by kdb: the same call and the same attributions, computed incrementally wherever that can be.

    from kdb.captum import Occlusion  # was: from captum.attr import Occlusion
    attribution = Occlusion(model).attribute(inputs, sliding_window_shapes=(3, 16, 16), strides=(3, 8, 8), target=281)

captum itself is neither needed nor imported.
"""

from kdb.adapters.adapter import Report
from kdb.captum.occlusion import Occlusion

__all__ = ["Occlusion", "Report"]
