"""attrinet: a multi-label image classifier whose explanation is its decision (Attri-Net, Sun et al., MELBA 2025).

model = attrinet.load("runs/demo/best")
out = model.explain("study.dcm")    # .probabilities, .attribution, .counterfactual, .contributions, .evidence
model.global_explanation()          # .positive_center, .negative_center, .weights
"""

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
