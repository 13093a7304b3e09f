"""A small Attri-Net that says something, its store, and the viewer on both."""

import pytest
import torch
from starlette.testclient import TestClient

from attrinet.cli.run_folder import Run
from attrinet.data.phantom import FINDINGS, phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.store import Store
from attrinet.folder import load, save_model
from attrinet.nets.attrinet import AttriNet
from attrinet.viewer.app import create_app
from attrinet.viewer.limits import Limits
from browsing import SIZE


@pytest.fixture(scope="session")
def viewed(tmp_path_factory) -> tuple[Run, Store]:
    """A run of an untrained Attri-Net, with weights and biases that make its findings differ, and its store."""
    folder = tmp_path_factory.mktemp("viewed")
    store = prepare(phantom_source(30, SIZE, 0), folder / "store", SIZE, workers=1, progress=False)
    torch.manual_seed(0)
    model = AttriNet(FINDINGS, SIZE, width=4, critic=False)
    for c, classifier in enumerate(model.classifiers):
        torch.nn.init.normal_(classifier.weight, std=3)
        classifier.bias.data.fill_(0.3 * c - 0.5)
    thresholds = dict(zip(FINDINGS, (0.2, 0.35, 0.5, 0.65, 0.8), strict=True))
    save_model(model, folder / "run" / "best", thresholds=thresholds, preprocessing=store.preprocessing)
    return Run(folder / "run", load(folder / "run"), None), store


@pytest.fixture
def serve(viewed):
    """serve(**limits) → a browser that keeps cookies; serve.another() → one more, of somebody else."""
    started = []

    def start(run: Run | None = None, store: Store | None = viewed[1], **limits) -> TestClient:
        client = TestClient(create_app(run or viewed[0], store, limits=Limits(**limits)), base_url="http://localhost")
        started.append(client.__enter__())
        return client

    yield start
    for client in started:
        client.__exit__(None, None, None)
