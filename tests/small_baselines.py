"""What a small baseline of every kind is built with."""

NARROW = {"width": 4, "depth": 18}
SMALL = {"resnet50": NARROW, "bcos_resnet50": NARROW, "backbone": {"backbone": "resnet18"}}
