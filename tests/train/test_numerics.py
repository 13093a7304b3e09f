"""Odd but possible data trains to finite weights or is refused before training starts; broken numbers stop a run."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from attrinet import losses
from attrinet.baselines.loop import train as train_baseline
from attrinet.data import annotations as notes
from attrinet.data.prepare import prepare
from attrinet.data.source import Source
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.evaluation import evaluate
from attrinet.folder import load
from attrinet.train import checkpoint, steps
from attrinet.train.config import load_config
from attrinet.train.finite import FiniteCheck
from attrinet.train.log import read_log
from attrinet.train.loop import train

SIZE, COUNT = 32, 16


def noise(seed):
    return np.random.default_rng(int(seed)).integers(0, 256, (SIZE, SIZE)).astype(np.float32)


def odd_store(folder, labels, masks=()):
    """A store of COUNT images with these labels (finding → values repeated over the images), half of them to train."""
    ids = [f"i{k}" for k in range(COUNT)]
    manifest = pd.DataFrame({
        "id": ids, "source": [str(k) for k in range(COUNT)], "patient": ids, "view": "PA",
        "split": ["train", "valid", "test", "train"] * (COUNT // 4),
        **{name: pd.array(np.resize(values, COUNT), dtype="Int8") for name, values in labels.items()},
    })
    table = notes.table([notes.mask_row(ids[k], name, mask) for k, name, mask in masks])
    return prepare(Source("odd", tuple(labels), manifest, table, noise), folder, SIZE, progress=False)


def options(store, *more):
    tiny = ("model.width=4", "run.batch_size=2", "schedule.steps=3", "schedule.critic_steps=1",
            "schedule.classifier_steps=1", "schedule.burst=0", "run.validate_every=3", "run.checkpoint_every=1",
            "run.log_every=1", "run.accelerator=cpu")
    return load_config(None, (f"data.store={store.path}", *tiny, *more))


BALANCED = [1, 1, 1, 1, 0, 0, 0, 0]  # against four kinds of split in turn: both classes in each


def assert_finite(out):
    saved = load_file(checkpoint.checkpoints(out / "checkpoints")[-1])
    assert all(torch.isfinite(v).all() for v in saved.values())
    for record in read_log(out / "metrics.jsonl"):
        assert all(v is not None for k, v in record.items() if "/" in k)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_images_without_any_contrast_train_and_are_judged(tmp_path, grey):
    """prepare leaves such out; earlier versions did not."""
    made = odd_store(tmp_path / "store", {"a": BALANCED, "b": BALANCED[::-1]})
    np.save(made.path / "images.npy", np.full_like(made.images, grey))
    store = Store.open(made.path)
    out = tmp_path / "run"
    best = train(options(store), out, progress=False)
    assert_finite(out)
    model = load(best)
    judged = evaluate(model, model, store, store.split("test"), {"a": 0.5, "b": 0.5}, draws=5, progress=False)
    assert judged.predictions["probability"].between(0, 1).all() and judged.metrics["auc"]["mean"].value == 0.5


def test_a_lesion_of_one_pixel_guides(tmp_path):
    dot = np.zeros((SIZE, SIZE), bool)
    dot[3, 5] = True
    store = odd_store(tmp_path / "store", {"a": BALANCED}, masks=[(0, "a", dot)])
    assert store.mask(0, 0).sum() == 1
    out = tmp_path / "run"
    best = train(options(store, "guidance.mode=mixed", "guidance.annotated_rate=1"), out, progress=False)
    assert_finite(out)
    model = load(best)
    result = evaluate(model, model, store, np.array([0, 4]), {"a": 0.0}, draws=5, progress=False)
    assert result.localisation["area"].tolist() == [1 / SIZE**2]


@pytest.mark.parametrize("values, which", [([0], "positive"), ([1], "negative"), ([pd.NA], "negative"),
                                           ([0, 1, 1, 0], "positive")])
@pytest.mark.parametrize("loop", [train, train_baseline])
def test_a_finding_that_training_cannot_learn_is_refused_by_name_and_nothing_is_written(tmp_path, values, which, loop):
    """The last: positives there are, but none of them is a training image."""
    store = odd_store(tmp_path / "store", {"fine": BALANCED, "odd": values})
    kind = () if loop is train else ("model.kind=resnet50", "model.depth=18", "model.width=4")
    config = load_config(None, (f"data.store={store.path}", "run.accelerator=cpu", *kind))
    with pytest.raises(AttrinetError, match=rf"odd \(no {which} image\).*data\.findings"):
        loop(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_finding_that_validation_cannot_judge_trains_and_has_no_auc(tmp_path):
    store = odd_store(tmp_path / "store", {"fine": BALANCED, "odd": [1, 0, 0, 0]})
    train(options(store), tmp_path / "run", progress=False)
    assert_finite(tmp_path / "run")
    (record,) = [r for r in read_log(tmp_path / "run" / "metrics.jsonl") if r["kind"] == "valid"]
    assert record["auc"]["odd"] is None and record["mean_auc"] == record["auc"]["fine"]


@pytest.mark.parametrize("count, precision", [(1, "fp32"), (1, "bf16"), (20, "bf16")])
def test_one_finding_and_twenty_train(tmp_path, count, precision):
    store = odd_store(tmp_path / "store", {f"f{c}": np.roll(BALANCED, c % 2) for c in range(count)})
    train(options(store, f"run.precision={precision}"), tmp_path / "run", progress=False)
    assert_finite(tmp_path / "run")
    assert len(load(tmp_path / "run").findings) == count


@pytest.mark.parametrize("kind, value", [("critic", math.nan), ("generator", math.inf), ("classifier", -math.inf)])
def test_a_loss_that_is_no_number_stops_at_once_with_step_images_and_last_good_checkpoint(
    tmp_path, monkeypatch, kind, value
):
    store = odd_store(tmp_path / "store", {"a": BALANCED, "b": BALANCED[::-1]})
    name = {"critic": "critic_loss", "generator": "l1_loss", "classifier": "classification_loss"}[kind]
    real, calls, drawn = getattr(losses, name), [], []
    draw = steps.Sampler.draw

    def spoiled(*arguments):
        calls.append(name)
        # the classifier's loss is taken twice a step: in the generator's step, then in its own
        return real(*arguments) * (value if len(calls) == (6 if kind == "classifier" else 3) else 1)

    def seen(self, which, counter):
        drawn.append((which, draw(self, which, counter)))
        return drawn[-1][1]

    monkeypatch.setattr(losses, name, spoiled)
    monkeypatch.setattr(steps.Sampler, "draw", seen)
    with pytest.raises(AttrinetError) as stopped:
        train(options(store, "schedule.steps=9", "run.log_every=50"), tmp_path / "run", progress=False)
    message = str(stopped.value)
    assert f"{kind}/" in message and f"is {value} at step 3," in message
    assert message.endswith("Start a new run (--out) with a lower optimizer.lr")  # --resume takes no other
    assert "the last good checkpoint is step-00000002.safetensors" in message
    _, (_, negatives, positives) = [d for d in drawn if d[0] == kind][2]
    named = re.search(r"on the images (.*);", message)[1].split(", ")
    assert named == [f"i{row}" for row in [*negatives, *positives]]
    monkeypatch.undo()
    train(options(store, "schedule.steps=9", "run.log_every=50"), tmp_path / "run", resume=True, progress=False)
    assert_finite(tmp_path / "run")


def test_of_a_loss_that_broke_on_another_process_it_is_not_the_own_that_is_named(tmp_path):
    store = odd_store(tmp_path / "store", {"a": BALANCED})
    other = SimpleNamespace(all_reduce=lambda broken, reduce_op: broken + 1)
    settings = options(store, "run.precision=bf16")
    check = FiniteCheck(tmp_path, settings, other, store, SimpleNamespace(step=3), lambda name, back: [1])
    with pytest.raises(AttrinetError, match=r"loss is not finite on another process at step 3, on the images i1; .*"
                                            r"a lower optimizer\.lr, or run\.precision=fp32$"):
        check.losses({"critic/loss": [torch.tensor(0.5)]})


def test_a_baseline_stops_the_same_way(tmp_path):
    store = odd_store(tmp_path / "store", {"a": BALANCED})
    config = load_config(None, (
        f"data.store={store.path}", "model.kind=resnet50", "model.depth=18", "model.width=4", "baseline.lr=1e30",
        "run.batch_size=4", "run.accelerator=cpu", "run.checkpoint_every=1"))
    with pytest.raises(AttrinetError, match=r"(model/classification is|no longer finite|not finite).*baseline\.lr"):
        train_baseline(config, tmp_path / "run", progress=False)


def test_weights_that_are_no_number_never_become_a_checkpoint_or_the_best_model(tmp_path, monkeypatch):
    store = odd_store(tmp_path / "store", {"a": BALANCED})
    real = steps.Steps.classifier

    def poison(self, count):  # finite losses, but a weight that broke in the last update
        out = real(self, count)
        if self.state.step == 3:
            where(self.state.model).fill_(math.nan)
        return out

    monkeypatch.setattr(steps.Steps, "classifier", poison)
    where = lambda model: model.centers.data[0, 0]  # noqa: E731
    with pytest.raises(AttrinetError, match=r"model\.centers.*after step 3; the last good checkpoint is step-00000002"):
        train(options(store), tmp_path / "a", progress=False)
    where = lambda model: model.classifiers[0].bias.data  # noqa: E731
    with pytest.raises(AttrinetError, match=r"prediction of image i\d+ is not finite.*no checkpoint"):
        train(options(store, "run.checkpoint_every=9"), tmp_path / "b", progress=False)
    assert not (tmp_path / "b" / "best").exists() and not any((tmp_path / "b" / "checkpoints").iterdir())


@pytest.mark.parametrize("option", ["optimizer.lr=nan", "losses.l1=inf", "optimizer.beta1=1.0",
                                    "guidance.annotated_rate=1.5", "guidance.center_square=0"])
def test_numbers_no_run_could_use_are_refused_with_the_configuration(option):
    with pytest.raises(AttrinetError, match=option.split("=")[0]):
        load_config(None, [option])


def test_losses_of_half_precision_maps_are_those_of_the_same_numbers_in_float32():
    g = torch.Generator().manual_seed(0)
    negative, positive = (torch.randn(4, 1, 64, 64, generator=g).bfloat16() for _ in range(2))
    centers, masks = torch.randn(2, 64, 64, generator=g), (torch.rand(4, 64, 64, generator=g) > 0.5).float()
    scores = torch.randn(4, generator=g).bfloat16() + 100
    labels = torch.tensor([0.0, 1, 0, 1])

    def all_of(n, p, s):
        return torch.stack([
            losses.l1_loss(n, p), losses.center_loss(n, p, centers), losses.guidance_loss(p, masks),
            losses.critic_loss(s, s.flip(0) * 0.99), losses.adversarial_loss(s),
            losses.classification_loss(s - 100, labels),
        ])

    halves = all_of(negative, positive, scores)
    assert halves.dtype == torch.float32
    whole = all_of(negative.float(), positive.float(), scores.float())
    torch.testing.assert_close(halves[[0, 1, 2, 4]], whole[[0, 1, 2, 4]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_a_certain_but_wrong_classifier_costs_a_finite_loss_with_a_gradient(logit):
    logits = torch.full((2,), logit, requires_grad=True)
    loss = losses.classification_loss(logits, torch.full((2,), float(logit < 0)))
    loss.backward()
    assert loss.item() == pytest.approx(1e4) and logits.grad.abs().sum().item() == pytest.approx(1)
