"""The models of the coverage table: all classifiers of torchvision, and at least one of each family of timm.

kdb promises to compute those listed as convolutional incrementally, as far as their structure allows.  The others use
attention, or statistics of a layer's whole output from the first layers on.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from kdb.models.torchvision_compat import import_torchvision

SIDE = 128
"""Side of the square input in pixels, for models that accept any size."""
TRANSFORMERS = ("maxvit", "swin", "vit")
"""Prefixes of torchvision's transformers; all its other classifiers are convolutional."""


@dataclass(frozen=True)
class Entry:
    """A model of the table.

    Attributes:
        name: as queries write it.
        side: of its square input, in pixels.
        convolutional: whether it is promised to be computed incrementally.
    """

    name: str
    side: int
    convolutional: bool

    @property
    def family(self) -> str:
        """The library and kind of the model, by which the rows of the table are grouped."""
        library = "timm" if self.name.startswith("timm/") else "torchvision"
        return f"{library}: {'convolutional' if self.convolutional else 'others'}"


SIDES = {
    "maxvit_t": 224,
    **dict.fromkeys(("swin_b", "swin_s", "swin_t", "swin_v2_b", "swin_v2_s", "swin_v2_t", "vit_b_16", "vit_l_16"), 64),
    **dict.fromkeys(("vit_b_32", "vit_l_32"), 64),
    "vit_h_14": 56,
    **dict.fromkeys(("regnet_y_128gf", "timm/convmixer_1024_20_ks9_p14"), 64),
    "timm/levit_128s": 224,
    "timm/swin_tiny_patch4_window7_224": 224,
    "timm/test_vit": 160,
}
"""Other sides than SIDE: the smallest that the model accepts, or a smaller one for very large models."""

# Plain and residual networks, other topologies, and networks with gates computed from a whole layer.
TIMM_CONVOLUTIONAL = (
    *("vgg11_bn", "resnet10t", "resnet18d", "resnetaa34d", "resnetblur18", "resnext50d_32x4d", "resnetv2_18"),
    *("resnet32ts", "gernet_s", "repvgg_a0", "mobileone_s0", "regnetx_002", "densenetblur121d", "rdnet_tiny"),
    *("vovnet39a", "dla34", "dla60_res2net", "dpn48b", "res2net50_14w_8s", "hrnet_w18_small", "selecsls42b"),
    *("hgnet_tiny", "lcnetv2_small", "darknet17", "cspdarknet53", "cs3darknet_s", "cs3darknet_focus_s"),
    *("inception_v4", "inception_resnet_v2", "legacy_xception", "xception41", "nasnetalarge", "pnasnet5large"),
    *("nf_resnet26", "convmixer_1024_20_ks9_p14", "convnext_atto", "inception_next_atto"),
    *("mambaout_femto", "fasternet_t0", "starnet_s050", "convformer_s18", "repvit_m0_9", "hardcorenas_a"),
    *("efficientnet_lite0", "mobilenetv1_100", "spnasnet_100", "mobilenetv4_conv_small_035"),
    *("mobilenetv4_conv_blur_medium", "seresnet18", "legacy_seresnet18", "ecaresnet26t", "skresnet18", "resnest14d"),
    *("tresnet_m", "regnety_002", "regnetz_005", "cspnext_tiny", "ese_vovnet19b_dw", "eca_nfnet_l0", "test_nfnet"),
    *("convnextv2_atto", "efficientnet_b0", "tf_efficientnetv2_b0", "mixnet_s", "mobilenetv3_small_050"),
    *("ghostnet_050", "repghostnet_050", "rexnet_100", "fastvit_t8"),
)
# Statistics of a whole layer, attention, and a norm whose variance deltas would not compute accurately enough.
TIMM_OTHERS = (
    *("resnet50_gn", "resnetv2_50x1_bit", "poolformerv2_s12", "gcresnext26ts", "lambda_resnet26t", "test_vit"),
    *("mobilevit_xxs", "edgenext_xx_small", "pvt_v2_b0", "levit_128s", "swin_tiny_patch4_window7_224"),
    "convnext_zepto_rms",
)


def torchvision_names() -> tuple[str, ...]:
    """Names of all classifiers of torchvision."""
    models = import_torchvision().models
    return tuple(models.list_models(module=models))


def entries() -> tuple[Entry, ...]:
    """All models of the table; those of timm only if it is installed."""
    found = [(name, not name.startswith(TRANSFORMERS)) for name in torchvision_names()]
    if find_spec("timm"):
        found += [(f"timm/{name}", True) for name in TIMM_CONVOLUTIONAL]
        found += [(f"timm/{name}", False) for name in TIMM_OTHERS]
    return tuple(Entry(name, SIDES.get(name, SIDE), convolutional) for name, convolutional in found)
