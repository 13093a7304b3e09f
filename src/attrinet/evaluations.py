"""What the evaluations of a run are called: RUN/evaluation, RUN/evaluation-lime, RUN/evaluation-lime-published."""

from __future__ import annotations

OWN = "own"
"""for an explainer's name: the model's own explanation, or none at all"""
AS_PUBLISHED = "-published"
"""behind an explainer's name: set up as in the Attri-Net paper's bench"""


def folder_name(explainer: str) -> str:
    """OWN or the name of a post-hoc explainer, with AS_PUBLISHED behind it where set up so → folder of the run."""
    return "evaluation" if explainer == OWN else f"evaluation-{explainer}"
