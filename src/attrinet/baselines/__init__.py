"""The classifiers Attri-Net is compared with (§4.1.3, and others by name), by their kind in configurations and model
folders."""

from attrinet.baselines.backbone import Backbone
from attrinet.baselines.baseline import Baseline
from attrinet.baselines.bcos import BcosResNet50
from attrinet.baselines.resnet import ResNet50

BASELINES: dict[str, type[Baseline]] = {model.kind: model for model in (ResNet50, BcosResNet50, Backbone)}
