"""Judge a classifier and an explainer on one split of a store: one protocol for every model and every explainer."""

from attrinet.evaluation.bench import Evaluation, evaluate
from attrinet.evaluation.intervals import jsonable
from attrinet.evaluation.predictions import choose_thresholds, predict

__all__ = ["Evaluation", "choose_thresholds", "evaluate", "jsonable", "predict"]
