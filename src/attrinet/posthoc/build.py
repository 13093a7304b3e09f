"""Explainers by name: for the command line and for tables that run over all of them."""

from __future__ import annotations

import difflib
from pathlib import Path

import torch
from torch import nn

from attrinet.errors import AttrinetError
from attrinet.nets.attrinet import AttriNet
from attrinet.posthoc.attrinet_logits import AttriNetLogits
from attrinet.posthoc.gifsplanation import Autoencoder
from attrinet.protocols import Explainer

NAMES = (
    "guided_backprop", "gradcam", "integrated_gradients", "lime", "shap", "gifsplanation", "random", "uniform",
)
PUBLISHED = ("gradcam", "lime", "shap", "gifsplanation")  # the Attri-Net paper's setting is another
OUTSIDE = ("integrated_gradients", "lime", "shap", "gifsplanation", "random", "uniform")  # need no layers of a CNN


def build(
    name: str, model: nn.Module, *, autoencoder: Autoencoder | None = None, as_published: bool = False, seed: int = 0
) -> Explainer:
    """The explainer of this name (NAMES) for a classifier, set up as its own authors advise.

    model: ResNet50, B-cos, Attri-Net, or any module whose forward gives logits, with `findings`. autoencoder: for
    gifsplanation only. as_published: as in the Attri-Net paper's bench. Raises AttrinetError for an unknown name, a
    missing autoencoder, a name of which no other setting was published, a method that means nothing for this model, or
    where the extra attrinet[posthoc] is not installed.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, 1, cutoff=0)
        raise AttrinetError(f"unknown explainer {name!r}; did you mean {near[0]!r}? There are {', '.join(NAMES)}")
    if name == "gifsplanation" and autoencoder is None:
        raise AttrinetError("gifsplanation needs an autoencoder: train one with attrinet train-autoencoder STORE and "
                            "give it with --autoencoder")
    if as_published and name not in PUBLISHED:
        raise AttrinetError(f"{name} has one setting only; leave --as-published out (it is for {', '.join(PUBLISHED)})")
    if isinstance(model, AttriNet):
        if name not in OUTSIDE:
            raise AttrinetError(f"{name} weighs the layers of a classifier, and Attri-Net's layers draw a map; choose "
                                f"one of {', '.join(OUTSIDE)}, or its own explanation")
        model = AttriNetLogits(model)
    if name == "guided_backprop" and not any(isinstance(module, nn.ReLU) for module in model.modules()):
        raise AttrinetError(f"{type(model).__name__} has no nn.ReLU module, which guided_backprop needs; choose one of "
                            f"{', '.join(n for n in NAMES if n != name)}")
    try:
        return _build(name, model, autoencoder, as_published, seed)
    except ModuleNotFoundError as error:
        raise AttrinetError(f"explainer {name} needs {error.name}: pip install 'attrinet[posthoc]'") from error


def open_autoencoder(path: Path, device: torch.device | str) -> Autoencoder:
    """A folder of `attrinet train-autoencoder`, or the weights file of torchxrayvision's. Raises AttrinetError for a
    folder or file that is neither."""
    if path.is_file():
        from attrinet.posthoc.xrv_autoencoder import load_xrv_autoencoder

        return load_xrv_autoencoder(path, device)
    from attrinet.posthoc.autoencoder import load_autoencoder

    return load_autoencoder(path, device)


def _build(name, model, autoencoder, as_published, seed) -> Explainer:
    # imported where used: captum and shap take seconds to import, and not everybody has installed them
    match name:
        case "guided_backprop":
            from attrinet.posthoc.guided_backprop import GuidedBackprop

            return GuidedBackprop(model)
        case "gradcam":
            from attrinet.posthoc.gradcam import GradCam

            return GradCam(model, as_published=as_published)
        case "integrated_gradients":
            from attrinet.posthoc.integrated_gradients import IntegratedGradients

            return IntegratedGradients(model)
        case "lime":
            from attrinet.posthoc.lime import Lime

            return Lime(model, seed=seed, as_published=as_published)
        case "shap":
            from attrinet.posthoc.shap import Shap

            return Shap(model, seed=seed, as_published=as_published)
        case "gifsplanation":
            from attrinet.posthoc.gifsplanation import Gifsplanation

            return Gifsplanation(model, autoencoder, as_published=as_published)
        case "random":
            from attrinet.posthoc.floors import Random

            return Random(model, seed=seed)
        case "uniform":
            from attrinet.posthoc.floors import Uniform

            return Uniform(model)
