"""Which explainers can be compared on a model, and one map of one of them, with progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from attrinet.baselines.baseline import Baseline
from attrinet.nets.attrinet import AttriNet
from attrinet.posthoc.build import OUTSIDE, build
from attrinet.protocols import Explainer

PIXELS_AT_ONCE = 4 * 320**2  # in one pass of a post-hoc method: what keeps memory within a laptop's


@dataclass(frozen=True)
class Choice:
    """One explainer that a page can offer. passes: forward passes of the model an image. slow: runs beside."""

    key: str
    label: str
    unit: str
    passes: float
    slow: bool
    what: str


POSTHOC = (
    Choice("gradcam", "Grad-CAM", "ReLU of weighted features", 1, False,
           "last feature maps, weighed by the logit's gradient"),
    Choice("guided_backprop", "Guided Backprop", "logits per unit of grey", 1, False,
           "gradient along paths that only ever help"),
    Choice("integrated_gradients", "Integrated Gradients", "logits per pixel", 128, True,
           "gradients on the way from black to the image"),
    Choice("lime", "LIME", "probability per superpixel", 3000, True, "linear model of hidden superpixels"),
    Choice("shap", "SHAP", "logits per pixel", 10_000, True, "Owen values of a hierarchy of image parts"),
    Choice("random", "Random", "noise", 0, False, "a floor: knows nothing"),
    Choice("uniform", "Uniform", "1 everywhere", 0, False, "a floor: knows nothing"),
)


def choices(model: AttriNet | Baseline) -> list[Choice]:
    """What can explain this model: itself, then post-hoc methods of its logits."""
    own = [Choice("own", f"{model.name} itself", "logits per pixel", 1, False,
                  "its own contributions: with the bias they sum to the logit")]
    relus = any(isinstance(m, nn.ReLU) for m in model.modules())  # guided backprop is about them
    return (own if isinstance(model, Explainer) else []) + [
        c for c in POSTHOC if (c.key in OUTSIDE or not isinstance(model, AttriNet))
        and (c.key != "guided_backprop" or relus)
    ]


class OneLogit(nn.Module):
    """The model as post-hoc methods want it, differentiable and counted: (B, 1, H, W) → (B, C), of Attri-Net only the
    finding's own column, as the others would cost a pass each."""

    def __init__(self, model: AttriNet | Baseline, finding: int, tick: Callable[[int], None]):
        super().__init__()
        self.model, self.finding, self.tick = model, finding, tick
        self.findings = model.findings
        self.eval()

    @property
    def gradcam_layer(self) -> nn.Module:
        return self.model.gradcam_layer

    def forward(self, images: Tensor) -> Tensor:
        self.tick(len(images))
        if not isinstance(self.model, AttriNet):
            return self.model(images)
        logit = self.model.classify(self.model.generator(images, self.finding)[0], self.finding)
        column = torch.arange(len(self.findings), device=images.device) == self.finding
        return logit[:, None] * column


def attribute(
    model: AttriNet | Baseline, key: str, image: np.ndarray, finding: int, tick: Callable[[int], None]
) -> np.ndarray:
    """(H, W) in [-1, 1] → (H, W) float32. tick is called with the number of images before each pass, and may raise."""
    x = torch.from_numpy(image.copy())[None, None].to(model.device)
    if key == "own":
        explainer = model
    else:
        explainer = build(key, OneLogit(model, finding, tick))
        if "batch_size" in {f.name for f in fields(explainer)}:
            most = max(1, PIXELS_AT_ONCE // image.size)
            explainer = replace(explainer, batch_size=min(explainer.batch_size, most))
    return explainer.attribute(x, finding)[0].detach().float().cpu().numpy()
