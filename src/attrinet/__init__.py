"""attrinet: a multi-label image classifier whose explanation is its decision (Attri-Net, Sun et al., MELBA 2025).

model = attrinet.load("runs/demo/best")
out = model.explain("study.dcm")    # .probabilities, .attribution, .counterfactual, .contributions, .evidence
model.global_explanation()          # .positive_center, .negative_center, .weights
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrinet.data.images import read_image
    from attrinet.data.store import Store
    from attrinet.errors import AttrinetError
    from attrinet.folder import load, save_model
    from attrinet.hub import from_pretrained, save_pretrained
    from attrinet.nets.attrinet import AttriNet, Explanation, GlobalExplanation
    from attrinet.protocols import Classifier, Explainer

__version__ = "0.1.0"
__all__ = [
    "AttriNet", "AttrinetError", "Classifier", "Explainer", "Explanation", "GlobalExplanation", "Store",
    "from_pretrained", "load", "read_image", "save_model", "save_pretrained",
]
_HOMES = {
    "data.images": ("read_image",), "data.store": ("Store",), "errors": ("AttrinetError",),
    "folder": ("load", "save_model"), "hub": ("from_pretrained", "save_pretrained"),
    "nets.attrinet": ("AttriNet", "Explanation", "GlobalExplanation"), "protocols": ("Classifier", "Explainer"),
}


def __getattr__(name: str) -> object:
    """The public names, imported when first asked for: `attrinet --help` needs no torch."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"attrinet.{home}"), name)
    raise AttributeError(f"module 'attrinet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
