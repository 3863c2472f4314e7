"""The one table of methods: the README, the tests and the command line read it, and losses are found in it by name."""

import dataclasses

from keras_distill._messages import expected, unknown_name
from keras_distill.losses import contrastive, embeddings, feature_maps, logits
from keras_distill.losses.base import DistillationLoss, arguments_of
from keras_distill.losses.layers import LayerPair

_STANDARDIZED = "logit_std_"


@dataclasses.dataclass(frozen=True)
class Method:
    """A published method of distillation.

    Args:
        name: Its name, by which `Distiller(distillation_losses=...)` knows it.
        family: `"logits"`, `"embeddings"`, `"feature maps"` or `"contrastive"`.
        loss: The class.
        paper: Authors and year.
        arxiv: Number at arXiv, or `None`.
        peers: Public code that has the method too.
        config: Arguments of the class that make it this method. Defaults to none.
    """

    name: str
    family: str
    loss: type
    paper: str
    arxiv: str | None
    peers: tuple[str, ...]
    config: dict = dataclasses.field(default_factory=dict)

    @property
    def needs(self):
        """What the loss needs or trains beyond two outputs: `"labels"`, `"features"`, `"adapter"`, `"index"`."""
        inner = METHODS[self.config["loss"]].loss if self.loss is logits.LogitStandardization else self.loss
        named = arguments_of(inner.per_sample, all=True)
        adapter = inner.make_adapter is not DistillationLoss.make_adapter
        found = {
            "labels": "labels" in named,
            "features": issubclass(inner, LayerPair),
            "adapter": adapter,
            "index": "contrast_index" in named,
        }
        return tuple(name for name, needed in found.items() if needed)

    def make(self, **arguments):
        """Make the loss.

        Args:
            **arguments: Arguments of the class that differ from its defaults.
        """
        return self.loss(**{**self.config, **arguments})


def get(name, **arguments):
    """Make a distillation loss by the name of its method.

    Args:
        name: A name in `METHODS`, or `"logit_std_"` and the name of a method of logits.
        **arguments: Arguments of its class that differ from their defaults.

    Returns:
        A `DistillationLoss`.

    Raises:
        ValueError: If there is no method of that name.

    Example:

    >>> import keras_distill as kd
    >>> kd.losses.get("dkd", beta=2.0)
    DKD(temperature=4.0, alpha=1.0, beta=2.0)
    >>> kd.losses.get("logit_std_dist").name
    'logit_std_dist'
    """
    if name in METHODS:
        return METHODS[name].make(**arguments)
    inner = str(name).removeprefix(_STANDARDIZED)
    if inner == name or inner not in METHODS:
        raise ValueError(unknown_name("a distillation loss", name, METHODS))
    if METHODS[inner].family != "logits":
        raise ValueError(expected(f"a method of logits after {_STANDARDIZED!r}", repr(name)))
    return logits.LogitStandardization(METHODS[inner].make(**arguments))


_FAMILIES = {"logits": logits, "embeddings": embeddings, "feature maps": feature_maps, "contrastive": contrastive}
_HINTON, _DISTILLM = "Hinton, Vinyals, Dean 2015", "Ko, Kim, Chen, Yun 2024"
_DKD, _STANDARD = "Zhao, Cui, Song, Qiu, Liang 2022", "Sun, Ren, Li, Wang, Cao 2024"
_MEN, _REP, _TORCH = "mdistiller", "RepDistiller", "torchdistill"
_ROWS = [
    ("kd", "logits", "LogitsDistillation", _HINTON, "1503.02531", ("keras.distillation", _MEN, _REP)),
    ("dkd", "logits", "DKD", _DKD, "2203.08679", (_MEN,)),
    ("logit_std_kd", "logits", "LogitStandardization", _STANDARD, "2403.01427", ("logit-standardization-KD",)),
    ("logit_std_dkd", "logits", "LogitStandardization", _STANDARD, "2403.01427", ("logit-standardization-KD",)),
    ("dist", "logits", "DIST", "Huang, You, Wang, Qian, Xu 2022", "2205.10536", ("image_classification_sota",)),
    ("mlkd", "logits", "MLKD", "Jin, Wang, Lin 2023", None, ("Multi-Level-Logit-Distillation",)),
    ("generalized_jsd", "logits", "GeneralizedJSD", "Agarwal et al. 2023", "2306.13649", ("TRL",)),
    ("forward_kl", "logits", "ForwardKL", _DISTILLM, "2402.03898", ("DistiLLM",)),
    ("reverse_kl", "logits", "ReverseKL", "Gu, Dong, Wei, Huang 2023", "2306.08543", ("DistiLLM",)),
    ("symmetric_kl", "logits", "SymmetricKL", _DISTILLM, "2402.03898", ("DistiLLM",)),
    ("js_distance", "logits", "JSDistance", "Wen, Li, Du, Mou 2023", "2307.15190", ("DistiLLM",)),
    ("tv_distance", "logits", "TVDistance", "Wen, Li, Du, Mou 2023", "2307.15190", ("DistiLLM",)),
    ("skew_forward_kl", "logits", "SkewForwardKL", _DISTILLM, "2402.03898", ("DistiLLM",)),
    ("skew_reverse_kl", "logits", "SkewReverseKL", _DISTILLM, "2402.03898", ("DistiLLM",)),
    ("soft_target_ce", "logits", "LogitsDistillation", _HINTON, "1503.02531", ("timm", "cls_KD")),
    ("nkd", "logits", "NKD", "Yang et al. 2023", "2303.13005", ("cls_KD",)),
    ("wsld", "logits", "WSLD", "Zhou et al. 2021", "2102.00650", ("cls_KD",)),
    ("ttm", "logits", "TTM", "Zheng, Yang 2024", "2402.11148", ("TTM",)),
    ("wttm", "logits", "WTTM", "Zheng, Yang 2024", "2402.11148", ("TTM",)),
    ("ctkd", "logits", "CTKD", "Li et al. 2022", "2211.16231", ("CTKD",)),
    ("rkd", "embeddings", "RKD", "Park, Kim, Lu, Cho 2019", "1904.05068", (_MEN, _REP, _TORCH)),
    ("pkt", "embeddings", "PKT", "Passalis, Tefas 2018", "1803.10837", (_MEN, _REP, _TORCH)),
    ("cc", "embeddings", "CC", "Peng et al. 2019", "1904.01802", (_REP, _TORCH)),
    (
        "fitnet",
        "feature maps",
        "FeatureDistillation",
        "Romero et al. 2014",
        "1412.6550",
        ("keras.distillation", _MEN, _REP),
    ),
    ("at", "feature maps", "AT", "Zagoruyko, Komodakis 2016", "1612.03928", (_REP, _TORCH)),
    ("sp", "feature maps", "SP", "Tung, Mori 2019", "1907.09682", (_MEN, _REP)),
    ("nst", "feature maps", "NST", "Huang, Wang 2017", "1707.01219", (_MEN, _REP)),
    ("fsp", "feature maps", "FSP", "Yim, Joo, Bae, Kim 2017", None, (_REP, _TORCH)),
    ("vid", "feature maps", "VID", "Ahn, Hu, Damianou, Lawrence, Dai 2019", "1904.05835", (_MEN, _REP)),
    ("ab", "feature maps", "AB", "Heo, Lee, Yun, Choi 2018", "1811.03233", (_REP,)),
    ("ft", "feature maps", "FT", "Kim, Park, Kwak 2018", "1802.04977", (_REP,)),
    ("reviewkd_hcl", "feature maps", "ReviewKD", "Chen, Liu, Zhao, Jia 2021", "2104.09044", (_MEN, _TORCH)),
    ("ofd", "feature maps", "OFD", "Heo, Kim, Yun, Park, Kwak, Choi 2019", "1904.01866", (_MEN,)),
    ("ickd", "feature maps", "ICKD", "Liu et al. 2021", "2202.03680", (_TORCH,)),
    ("crd", "contrastive", "CRD", "Tian, Krishnan, Isola 2019", "1910.10699", (_REP,)),
]
# Where one class is more than one method.
_CONFIGS = {
    "kd": {"name": "kd"},
    "soft_target_ce": {"name": "soft_target_ce", "loss": "categorical_crossentropy"},
    "fitnet": {"name": "fitnet", "teacher_layer_name": "auto", "student_layer_name": "auto"},
    "logit_std_kd": {"loss": "kd"},
    "logit_std_dkd": {"loss": "dkd"},
}
METHODS = {
    name: Method(name, family, getattr(_FAMILIES[family], loss), paper, arxiv, peers, _CONFIGS.get(name, {}))
    for name, family, loss, paper, arxiv, peers in _ROWS
}
