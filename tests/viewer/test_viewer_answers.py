"""What the page shows is what the model says: the numbers of attrinet.load(...).explain(...), nothing else."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from attrinet.baselines import BASELINES
from attrinet.cli.run_folder import Run
from attrinet.data.images import read_image
from attrinet.data.phantom import FINDINGS
from browsing import SIZE, floats, picture, upload
from small_baselines import SMALL


def findings(client, image):
    return [client.get(f"/api/images/{image['id']}/findings/{c}").json() for c in range(len(FINDINGS))]


def test_an_uploaded_image_is_predicted_as_the_public_api_predicts_it(serve, viewed, tmp_path):
    client = serve()
    (tmp_path / "a.png").write_bytes(picture())
    out = viewed[0].model.explain(tmp_path / "a.png")
    image = upload(client, picture()).json()
    for c, said in enumerate(findings(client, image)):
        assert said["name"] == FINDINGS[c]
        assert said["logit"] == pytest.approx(float(out.logits[0, c]), abs=1e-6)
        assert said["probability"] == pytest.approx(float(out.probabilities[0, c]), abs=1e-6)
        assert said["called"] == bool(out.called[0, c])
        m = floats(client.get(f"/api/images/{image['id']}/findings/{c}/map"))
        np.testing.assert_allclose(m.reshape(SIZE, SIZE), out.attribution[0, c], atol=1e-6)
    x = floats(client.get(f"/api/images/{image['id']}/pixels"))
    np.testing.assert_array_equal(x.reshape(SIZE, SIZE), read_image(tmp_path / "a.png", SIZE)[0, 0])


def test_bias_ten_cells_and_the_rest_are_the_logit(serve):
    client = serve()
    for said in findings(client, upload(client, picture()).json()):
        assert len(said["cells"]) == 10 and said["others"] == said["grid"] ** 2 - 10
        sizes = [abs(cell["logits"]) for cell in said["cells"]]
        assert sizes == sorted(sizes, reverse=True) and sizes[0] > 0
        for cell in said["cells"]:
            assert cell["change"] * cell["weight"] == pytest.approx(cell["logits"])
        total = said["bias"] + sum(cell["logits"] for cell in said["cells"]) + said["others_logits"]
        assert total == pytest.approx(said["logit"], abs=1e-6)
        assert 1 / (1 + np.exp(-total)) == pytest.approx(said["probability"], abs=1e-6)


def test_a_finding_is_above_its_margin_exactly_where_it_is_called(serve):
    client = serve()
    said = findings(client, upload(client, picture()).json())
    assert {s["called"] for s in said} == {True, False}
    for s in said:
        assert (s["margin"] >= 0) == s["called"]
        assert s["margin"] == pytest.approx(s["logit"] - np.log(s["threshold"] / (1 - s["threshold"])), abs=1e-5)


def test_an_image_of_the_store_comes_with_its_labels_and_lesions(serve, viewed):
    client, store = serve(), viewed[1]
    row = int(np.argmax(store.labels[:, 1] == 1))
    image = client.post(f"/api/store/{row}").json()
    assert image["name"] == store.ids[row] and image["truth"]["labels"][1] == 1 and 1 in image["truth"]["annotated"]
    mask = client.get(f"/api/images/{image['id']}/findings/1/mask").content
    np.testing.assert_array_equal(np.frombuffer(mask, np.uint8).reshape(SIZE, SIZE).astype(bool), store.mask(row, 1))
    x = floats(client.get(f"/api/images/{image['id']}/pixels"))
    np.testing.assert_array_equal(x.reshape(SIZE, SIZE), store.batch([row])[0, 0])


def test_the_store_can_be_searched(serve, viewed):
    client, store = serve(), viewed[1]
    query = {"split": "train", "finding": "Edema", "state": "present", "search": str(store.ids[0])[:3]}
    listed = client.get("/api/store", params=query).json()
    want = [r for r in store.split("train") if store.labels[r, FINDINGS.index("Edema")] == 1]
    assert listed["count"] == len(want) and [i["row"] for i in listed["images"]] == want[:24]
    assert client.get("/api/store", params={"page": "99999"}).json()["page"] == 1  # the last of 30 images
    assert client.get("/api/store", params={"search": "("}).json()["count"] == 0
    assert client.get("/api/store", params={"finding": "Edma", "state": "present"}).status_code == 422
    assert client.get(f"/api/store/{len(store)}/thumbnail").status_code == 404
    assert client.get("/api/store/0/thumbnail").content.startswith(b"\x89PNG")


def test_the_global_explanation_is_the_models(serve, viewed):
    client, model = serve(), viewed[0].model
    want = model.global_explanation()
    centers = floats(client.get("/api/model/centers")).reshape(2, len(FINDINGS), SIZE, SIZE)
    np.testing.assert_array_equal(centers[0], want.positive_center)
    np.testing.assert_array_equal(centers[1], want.negative_center)
    info = client.get("/api/model").json()
    np.testing.assert_allclose(info["weights"], want.weights.flatten(1), rtol=1e-6)


def explained(client, image, key, finding=0):
    path = f"/api/images/{image['id']}/findings/{finding}/explainers/{key}"
    report, deadline = client.post(path).json(), time.monotonic() + 60
    while report["state"] in ("waiting", "running") and time.monotonic() < deadline:
        time.sleep(0.02)
        report = client.get(path).json()
    return report, path


def test_own_and_post_hoc_explainers_are_compared_on_one_image(serve, viewed):
    client, model = serve(), viewed[0].model
    image = client.post("/api/store/0").json()
    keys = {e["key"] for e in client.get("/api/model").json()["explainers"]}
    assert keys == {"own", "integrated_gradients", "lime", "shap", "random", "uniform"}
    report, path = explained(client, image, "own", 2)
    x = viewed[1].batch([0])
    np.testing.assert_allclose(floats(client.get(path + "/map")), model.attribute(x, 2).flatten(), atol=1e-6)
    report, path = explained(client, image, "integrated_gradients", 2)
    black = torch.full_like(x, -1)
    change = float(model.logits(x)[0, 2] - model.logits(black)[0, 2])
    assert floats(client.get(path + "/map")).sum() == pytest.approx(change, rel=0.15)  # of the same logit
    for key in ("random", "uniform"):
        report, path = explained(client, image, key)
        assert report["state"] == "done" and floats(client.get(path + "/map")).min() >= 0
    for key in ("guided_backprop", "gradcam"):  # they weigh a classifier's layers; these draw a map
        assert client.post(f"/api/images/{image['id']}/findings/0/explainers/{key}").status_code == 404


def test_a_slow_explainer_shows_progress_can_be_stopped_and_blocks_nobody(serve):
    client = serve()
    image = client.post("/api/store/0").json()
    path = f"/api/images/{image['id']}/findings/0/explainers/lime"
    assert client.post(path).json()["state"] in ("waiting", "running")
    while not client.get(path).json()["share"] > 0:  # it is really at work
        time.sleep(0.02)
    assert explained(client, image, "own")[0]["state"] == "done"
    assert client.get(f"/api/images/{image['id']}/findings/4").json()["name"] == FINDINGS[4]
    running = client.get(path).json()
    assert running["state"] == "running" and 0 < running["share"] < 1
    client.delete(path)
    deadline = time.monotonic() + 20
    while client.get(path).json()["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert client.get(path).json()["state"] == "cancelled"
    assert client.get(path + "/map").status_code == 404


@pytest.mark.parametrize("kind", sorted(BASELINES))
def test_baselines_show_what_they_have(serve, kind):
    torch.manual_seed(0)
    model = BASELINES[kind](FINDINGS, SIZE, **SMALL[kind]).eval()
    client = serve(run=Run(Path("baseline"), model, None))
    image = client.post("/api/store/0").json()
    said = findings(client, image)
    own = kind.startswith("bcos")
    for s in said:
        assert ("cells" in s) == own
        if own:
            m = floats(client.get(f"/api/images/{image['id']}/findings/{s['finding']}/map"))
            assert s["bias"] + m.sum(dtype=np.float64) == pytest.approx(s["logit"], abs=1e-4)
            assert "weight" not in s["cells"][0]
    keys = {e["key"] for e in client.get("/api/model").json()["explainers"]}
    assert ("own" in keys) == own and {"gradcam", "lime", "shap"} <= keys
    assert client.get("/api/model/global").json()["centers"] is False
    if not own:
        assert client.get(f"/api/images/{image['id']}/findings/0/map").status_code == 404
        assert explained(client, image, "gradcam")[0]["state"] == "done"
