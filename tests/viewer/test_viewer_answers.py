"""What the page shows is what the model says: the numbers of attrinet.load(...).explain(...), nothing else."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attrinet.baselines import BASELINES
from attrinet.cli.run_folder import Run
from attrinet.data.images import read_image
from attrinet.data.phantom import FINDINGS
from attrinet.nets.weights import weights_hash
from browsing import SIZE, floats, picture, upload
from small_baselines import SMALL
from waiting import until


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


def test_the_strongest_cells_are_where_their_row_and_column_say(serve, viewed):
    client = serve()
    image, pool = upload(client, picture()).json(), client.get("/api/model").json()["pool"]
    weights = viewed[0].model.global_explanation().weights.double().numpy()
    for c, said in enumerate(findings(client, image)):
        m = floats(client.get(f"/api/images/{image['id']}/findings/{c}/map")).reshape(SIZE, SIZE).astype(float)
        changes = {(r, k): m[r * pool : (r + 1) * pool, k * pool : (k + 1) * pool].mean()
                   for r in range(said["grid"]) for k in range(said["grid"])}
        strongest = sorted(changes, key=lambda at: -abs(changes[at] * weights[c][at]))[:10]
        assert [(cell["row"], cell["column"]) for cell in said["cells"]] == strongest
        for cell, at in zip(said["cells"], strongest, strict=True):
            assert cell["change"] == pytest.approx(changes[at], rel=1e-5)
            assert cell["weight"] == pytest.approx(weights[c][at])


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


def test_the_store_can_be_searched_by_what_is_absent_or_unknown(serve, viewed):
    store = replace(viewed[1])
    store.labels = viewed[1].labels.copy()
    store.labels[:, 2] = np.resize([1, 0, np.nan, 0, np.nan, 0], len(store))
    client = serve(store=store)
    for state, places in (("present", {0}), ("absent", {1, 3, 5}), ("unknown", {2, 4})):
        rows = [r for r in range(len(store)) if r % 6 in places]
        listed = client.get("/api/store", params={"finding": FINDINGS[2], "state": state}).json()
        assert listed["count"] == len(rows) and [i["row"] for i in listed["images"]] == rows
        assert [FINDINGS[2] in i["present"] for i in listed["images"]] == [state == "present"] * len(rows)
    truths = [client.post(f"/api/store/{row}").json()["truth"]["labels"][2] for row in range(3)]
    assert truths == [1, 0, None]


def test_the_pages_of_the_stores_list_go_through_it_once(serve, viewed):
    client, store = serve(), viewed[1]
    pages = [client.get("/api/store", params={"page": page}).json() for page in "01"]
    assert [p["page"] for p in pages] == [0, 1] and {p["pages"] for p in pages} == {2}
    listed = [image for p in pages for image in p["images"]]
    assert [i["row"] for i in listed] == list(range(30)) and [i["id"] for i in listed] == list(store.ids)
    for page in ("-1", "1e3", "x", "9" * 5000):
        assert client.get("/api/store", params={"page": page}).json() == pages[0]


def test_figures_are_shown_of_this_models_weights_alone(serve, viewed, tmp_path):
    model, file = viewed[0].model, tmp_path / "evaluation" / "metrics.json"
    client = serve(run=Run(tmp_path, model, None))

    def shown():
        return client.get("/api/model/metrics").json()

    assert shown() == {"evaluation": None, "stale": False, "training": []}
    file.parent.mkdir()
    ours = {"weights": weights_hash(model), "split": "test"}
    for content, want in (
        (json.dumps(ours), {"evaluation": ours, "stale": False}),
        (json.dumps(ours | {"weights": "0" * 16}), {"evaluation": None, "stale": True}),
        ("{", {"evaluation": None, "stale": False}),
        ("[]", {"evaluation": None, "stale": False}),
    ):
        file.write_text(content)
        assert shown() == want | {"training": []}, content


def test_training_is_shown_by_its_validations(serve, viewed, tmp_path):
    records = [
        {"kind": "train", "step": 5, "loss": 1.0},
        {"kind": "valid", "step": 10, "mean_auc": 0.5, "auc": {"Edema": 0.5}},
        {"kind": "valid", "step": 20, "auc": {"Edema": None}},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    for path in (tmp_path, tmp_path / "best"):
        assert serve(run=Run(path, viewed[0].model, None)).get("/api/model/metrics").json()["training"] == [
            {"step": 10, "mean": 0.5, "auc": {"Edema": 0.5}}, {"step": 20, "mean": None, "auc": {"Edema": None}}]


def test_the_global_explanation_is_the_models(serve, viewed):
    client, model = serve(), viewed[0].model
    want = model.global_explanation()
    centers = floats(client.get("/api/model/centers")).reshape(2, len(FINDINGS), SIZE, SIZE)
    np.testing.assert_array_equal(centers[0], want.positive_center)
    np.testing.assert_array_equal(centers[1], want.negative_center)
    info = client.get("/api/model").json()
    np.testing.assert_allclose(info["weights"], want.weights.flatten(1), rtol=1e-6)
    assert info["findings"] == list(FINDINGS)
    assert info["thresholds"] == pytest.approx([0.2, 0.35, 0.5, 0.65, 0.8])
    numbers = client.get("/api/model/global").json()
    assert numbers["centers"] is True and numbers["grid"] ** 2 == len(info["weights"][0])
    assert [f["name"] for f in numbers["findings"]] == list(FINDINGS)
    assert [f["bias"] for f in numbers["findings"]] == pytest.approx([-0.5, -0.2, 0.1, 0.4, 0.7])


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
    until(lambda: client.get(path).json()["share"] > 0, "LIME to be at work")
    assert explained(client, image, "own")[0]["state"] == "done"
    assert client.get(f"/api/images/{image['id']}/findings/4").json()["name"] == FINDINGS[4]
    running = client.get(path).json()
    assert running["state"] == "running" and 0 < running["share"] < 1
    client.delete(path)
    until(lambda: client.get(path).json()["state"] != "running", "LIME to stop")
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
            edges = np.linspace(0, SIZE, s["grid"] + 1).round().astype(int)
            rows, columns = (slice(*edges[s["cells"][0][way] :][:2]) for way in ("row", "column"))
            inside = m.reshape(SIZE, SIZE)[rows, columns].sum(dtype=np.float64)
            assert s["cells"][0]["logits"] == pytest.approx(inside, rel=1e-4)
    keys = {e["key"] for e in client.get("/api/model").json()["explainers"]}
    assert ("own" in keys) == own and {"gradcam", "lime", "shap"} <= keys
    assert client.get("/api/model/global").json()["centers"] is False
    if not own:
        assert client.get(f"/api/images/{image['id']}/findings/0/map").status_code == 404
        assert explained(client, image, "gradcam")[0]["state"] == "done"
