"""The classifiers Attri-Net is compared with (§4.1.3), by the name a configuration and a model folder give them."""

from attrinet.baselines.bcos import BcosResNet50
from attrinet.baselines.resnet import ResNet50

BASELINES = {model.kind: model for model in (ResNet50, BcosResNet50)}
