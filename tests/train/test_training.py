"""Training: what moves in which step, the ablations, two processes, bf16, and refusals before any time is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators import CUDAAccelerator, MPSAccelerator
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from attrinet import losses
from attrinet.baselines.loop import train as train_baseline
from attrinet.data.sampling import Sampler
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.folder import ON_VALIDATION, load
from attrinet.metrics.auc import auc
from attrinet.metrics.youden import youden_threshold
from attrinet.nets.attrinet import AttriNet
from attrinet.nets.generator import Generator
from attrinet.train.batches import jittered
from attrinet.train.config import DataConfig, dump_config, load_config
from attrinet.train.log import read_log
from attrinet.train.loop import train
from attrinet.train.run import check_split, launch
from attrinet.train.state import new_state
from attrinet.train.steps import Steps

CONFIGS = Path(__file__).parents[2] / "configs"


def steps(config, store):
    torch.manual_seed(0)
    state = new_state(AttriNet(store.findings, store.size, width=4), config.optimizer)
    sampler = Sampler(store.labels, store.split("train"), store.findings, config.run.batch_size, 0)
    return Steps(Fabric(accelerator="cpu", devices=1), state, store, sampler, None, config)


def moved(model, before):
    return {name.split(".")[0] + ("." + name.split(".")[1] if name.startswith("classifiers") else "")
            for name, value in model.state_dict().items() if not value.equal(before[name])}


@pytest.mark.parametrize("kind,own", [("critic", {"critic"}), ("generator", {"generator", "centers"}),
                                      ("classifier", {"classifiers.0", "classifiers.1"})])
def test_a_step_moves_its_own_network_only(config, phantoms, kind, own):
    s = steps(config(), phantoms)
    before = {k: v.clone() for k, v in s.state.model.state_dict().items()}
    s.generator() if kind == "generator" else getattr(s, kind)(2)
    assert moved(s.state.model, before) == own


def test_only_the_centres_of_the_step_s_finding_move_by_the_gradient_of_their_own_loss(config, phantoms):
    s = steps(config(), phantoms)
    before = s.state.model.centers.detach().clone()
    finding, neg, pos, random = s._next("generator")
    s.state.counters["generator"] -= 1
    images = torch.cat([s._images(neg, random), s._images(pos, random)])
    with torch.no_grad():
        maps = s.state.model.generator(images, finding)[0][:, 0]
    s.generator()
    after = s.state.model.centers.detach()
    others = [c for c in range(5) if c != finding]
    assert after[others].equal(before[others])
    for label, m in enumerate((maps[:2], maps[2:])):
        # the gradient of eq. 5 is c − mean M, free of λ = 0.01; the learning rate is 0.1
        want = before[finding, label] - 0.1 * (before[finding, label] - m.mean(0))
        torch.testing.assert_close(after[finding, label], want, rtol=1e-4, atol=1e-5)


def test_critic_steps_made_in_one_pass_are_those_made_one_by_one(config, phantoms):
    together, apart = steps(config(), phantoms), steps(config(), phantoms)
    several = together.critic(6)
    single = [apart.critic(1)[0] for _ in range(6)]
    torch.testing.assert_close(torch.stack(several), torch.stack(single), rtol=1e-4, atol=1e-5)


def test_a_gradient_penalty_of_weight_0_is_not_computed(config, phantoms, monkeypatch):
    s = steps(config("losses.gradient_penalty=0"), phantoms)
    monkeypatch.setattr(losses, "norm_penalty", lambda gradient: gradient.sum() * torch.inf)
    assert all(loss.isfinite() for loss in s.critic(2))


class Given:
    """In place of a store, these images; in place of random numbers, these factors."""

    def __init__(self, images, factors):
        self.images, self.factors = images, iter(factors)

    def batch(self, rows, device):
        return self.images[rows].to(device)

    def uniform(self, low, high, size):
        return np.array(next(self.factors))[:size]


def test_contrast_is_about_the_mean_of_the_image_and_brightness_multiplies():
    grey = torch.tensor([[0.2, 0.6], [0.5, 0.9]]).view(2, 1, 1, 2)
    given = Given(grey * 2 - 1, [[0.5, 1.5], [1.2, 0.8]])
    found = jittered(Fabric(accelerator="cpu", devices=1), given, np.array([0, 1]), DataConfig(), given)
    # means 0.4 and 0.7: contrast gives 0.3, 0.5 and 0.4, 1.0, brightness 0.36, 0.6 and 0.32, 0.8
    torch.testing.assert_close(found.view(2, 2), torch.tensor([[-0.28, 0.2], [-0.36, 0.6]]))


def test_what_is_jittered_beyond_black_or_white_is_black_or_white():
    given = Given(torch.tensor([[[[-0.8, 0.8]]]]), [[2.0], [1.4]])
    found = jittered(Fabric(accelerator="cpu", devices=1), given, np.array([0]), DataConfig(), given)
    assert found.flatten().tolist() == [-1, 1]


class HalfGuided:
    """Every second image is guided, to nowhere."""

    def masks(self, rows, finding):
        return np.zeros((len(rows), 32, 32), np.float32), np.arange(len(rows)) % 2 == 0


@pytest.mark.parametrize("reduction, cost", [("mean", 0.5), ("sum", 2.0)])
def test_an_image_without_guidance_costs_nothing_and_the_batch_its_mean_or_its_sum(config, phantoms, reduction, cost):
    s = steps(config("run.batch_size=4", f"losses.guidance_reduction={reduction}"), phantoms)
    s.guidance = HalfGuided()
    assert s.generator()["guidance"].item() == pytest.approx(cost)


def test_a_run_writes_all_it_promises(config, tmp_path, phantoms):
    best = train(config("model.output=difference"), tmp_path / "run", progress=False)
    log = read_log(tmp_path / "run" / "metrics.jsonl")
    assert [r["step"] for r in log if r["kind"] == "valid"] == [4, 8, 12]
    assert [r["step"] for r in log if r["kind"] == "train"] == [2, 4, 6, 8, 10, 12]
    assert [p.name for p in sorted((tmp_path / "run" / "samples").iterdir())] == [
        "step-00000006.png", "step-00000012.png"]
    assert any((tmp_path / "run" / "tensorboard").iterdir())
    top = max((r for r in log if r["kind"] == "valid"), key=lambda r: r["mean_auc"])
    assert json.loads((best / "training.json").read_text())["best_auc"] == top["mean_auc"]
    model = load(tmp_path / "run")
    rows = phantoms.split("valid")
    images = phantoms.batch(rows)
    assert load(best).logits(images).equal(model.logits(images)) and model.generator.output == "difference"
    again = auc(phantoms.labels[rows], model.logits(images).numpy(), phantoms.findings)
    assert again.mean == pytest.approx(top["mean_auc"], abs=1e-9)
    assert load_config(tmp_path / "run" / "config.yaml").schedule.steps == 12


ABLATIONS = {
    "cls": {"classification"}, "cls_adv": {"classification", "adversarial"},
    "cls_adv_reg": {"classification", "adversarial", "l1"},
    "cls_adv_reg_ctr": {"classification", "adversarial", "l1", "center"},
    "all": {"classification", "adversarial", "l1", "center", "guidance"},
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_each_ablation_of_table_4_computes_its_losses_and_no_other(config, tmp_path, name, phantoms):
    tiny = (f"data.store={phantoms.path}", "data.findings=[]", "model.width=4", "schedule.steps=2", "run.batch_size=2",
            "schedule.critic_steps=1", "schedule.burst=1", "run.log_every=1", "run.accelerator=cpu")
    ablation = load_config(CONFIGS / f"ablation_{name}.yaml", tiny)
    train(ablation, tmp_path / "run", progress=False)
    record = read_log(tmp_path / "run" / "metrics.jsonl")[0]
    assert {k.split("/")[1] for k in record if k.startswith("generator/")} == ABLATIONS[name]
    assert ("critic/loss" in record) == ("adversarial" in ABLATIONS[name])


def test_bf16_trains_to_finite_losses_close_to_fp32(config, tmp_path):
    runs, convolved = {}, []

    def note(module, inputs, output):
        if isinstance(module, nn.ConvTranspose2d) and module.training:  # only the generator has such
            convolved.append(output.dtype)

    for p, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        convolved.clear()
        with register_module_forward_hook(note):
            runs[p] = train(config(f"run.precision={p}", "schedule.steps=4"), tmp_path / p, progress=False).parent
        assert set(convolved) == {dtype}
    a, b = (read_log(runs[p] / "metrics.jsonl")[0] for p in ("fp32", "bf16"))
    assert a["generator/classification"] == pytest.approx(b["generator/classification"], rel=0.05)


def test_a_run_in_bf16_keeps_the_model_and_thresholds_of_what_it_is_used_as(config, tmp_path):
    settings = config("run.precision=bf16", "schedule.steps=4")
    best = train(settings, tmp_path / "run", progress=False)
    store, model = Store.open(settings.data.store), load(best)
    rows = store.split("valid")
    probabilities = model.logits(store.batch(rows)).double().sigmoid().numpy()
    kept = json.loads((best / "training.json").read_text())["best_auc"]
    assert kept == pytest.approx(auc(store.labels[rows], probabilities, store.findings).mean, abs=1e-12)
    for c, threshold in enumerate(model.thresholds):
        assert threshold == pytest.approx(youden_threshold(store.labels[rows, c], probabilities[:, c]).threshold)
    assert model.thresholds_from == ON_VALIDATION


def test_two_processes_do_the_mathematics_of_one(config, tmp_path):
    for count in (1, 2):
        file = tmp_path / f"{count}.yaml"
        file.write_text(dump_config(config(f"run.devices={count}", "run.batch_size=4", "schedule.steps=4")))
        done = subprocess.run([sys.executable, "-m", "attrinet", "train", file, "--out", tmp_path / f"run{count}",
                               "--quiet"], capture_output=True, text=True, timeout=300,
                              env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (read_log(tmp_path / f"run{k}" / "metrics.jsonl") for k in (1, 2))
    assert len(one) == len(two)
    assert two[0]["generator/classification"] == pytest.approx(one[0]["generator/classification"], rel=1e-3)
    assert two[0]["generator/l1"] == pytest.approx(one[0]["generator/l1"], rel=1e-3)
    a, b = (load(tmp_path / f"run{k}") for k in (1, 2))
    # Adam with β₁ = 0 steps by the gradient's sign where it is tiny, so rounding can move single weights by a step
    close = np.mean([torch.isclose(x, y, atol=2e-3).float().mean().item()
                     for x, y in zip(a.parameters(), b.parameters(), strict=True)])
    assert close > 0.97


RECORD = """
import sys, torch
from safetensors.torch import save_file
from attrinet.cli import main
step, calls = torch.optim.Adam.step, []
def record(self, closure=None):
    calls.append([p.grad.clone() for group in self.param_groups for p in group["params"] if p.grad is not None])
    return step(self, closure)
torch.optim.Adam.step = record
out = sys.argv.pop()
try:
    main()
finally:
    if torch.distributed.is_initialized() is False or torch.distributed.get_rank() == 0:
        save_file({f"{k} {i}": g.contiguous() for k, each in enumerate(calls) for i, g in enumerate(each)}, out)
"""


def test_two_processes_have_the_gradients_of_one_up_to_rounding(config, tmp_path):
    """Every gradient of four steps of every kind; the learning rate lets no rounding grow."""
    (tmp_path / "record.py").write_text(RECORD)
    still = ("optimizer.lr=1e-12", "optimizer.classifier_lr=1e-12", "optimizer.center_lr=1e-12", "schedule.steps=4")
    for count in (1, 2):
        file = tmp_path / f"{count}.yaml"
        file.write_text(dump_config(config(f"run.devices={count}", "run.batch_size=4", *still)))
        done = subprocess.run(
            [sys.executable, tmp_path / "record.py", "train", file, "--out", tmp_path / f"run{count}", "--quiet",
             tmp_path / f"{count}.safetensors"],
            capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (load_file(tmp_path / f"{k}.safetensors") for k in (1, 2))
    assert one.keys() == two.keys() and len({name.split()[0] for name in one}) > 12
    largest = max(gradient.abs().max() for gradient in one.values())
    for name, gradient in one.items():
        size = max(gradient.norm().item(), 1e-6 * largest.item())
        assert (two[name] - gradient).norm().item() < 2e-5 * size, name


def test_checkpointing_gives_the_same_gradients_and_keeps_less_for_them():
    torch.manual_seed(0)
    generator, x, kept, gradients = Generator(2, 8), torch.rand(2, 1, 32, 32) * 2 - 1, {}, {}
    for generator.checkpointing in (False, True):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: (s.append(t.numel()), t)[1], lambda t: t):
            loss = generator(x, 1)[0].square().mean()
        kept[generator.checkpointing] = sum(sizes)
        gradients[generator.checkpointing] = torch.autograd.grad(loss, list(generator.parameters()))
    assert kept[True] < kept[False] / 2
    for a, b in zip(gradients[False], gradients[True], strict=True):
        torch.testing.assert_close(a, b)


def test_a_finding_that_validation_cannot_judge_is_said():
    store = SimpleNamespace(path="stores/x", findings=("Edema", "Mass"), labels=np.array([[1, 0], [0, 0], [1, np.nan]]))
    with pytest.warns(UserWarning, match="presence and absence of Mass: the threshold stays 0.5 there"):
        check_split(store, {"train": np.arange(3), "valid": np.arange(3)})


def test_what_cannot_be_trained_is_refused_at_once(config, tmp_path, phantoms):
    with pytest.raises(AttrinetError, match="no finding 'Mass'"):
        train(config("data.findings=[Mass]"), tmp_path / "a", progress=False)
    with pytest.raises(AttrinetError, match="no store found"):
        train(config(f"data.store={tmp_path / 'none'}"), tmp_path / "b", progress=False)
    with pytest.raises(AttrinetError, match=r"guidance\.mode='maks'"):
        train(config("guidance.mode=maks"), tmp_path / "c", progress=False)
    for kind, other in (("resnet50", train), ("attrinet", train_baseline)):
        chosen = load_config(None, [f"data.store={phantoms.path}", f"model.kind={kind}"])
        with pytest.raises(AttrinetError, match=f"model.kind={kind}: attrinet.*loop.train trains this kind"):
            other(chosen, tmp_path / "a", progress=False)
    assert not (tmp_path / "a").exists() and not (tmp_path / "c").exists()


def test_a_critic_may_have_its_bursts_alone(config, tmp_path):
    best = train(config("schedule.critic_steps=0", "schedule.steps=3", "run.log_every=1"), tmp_path / "run",
                 progress=False)
    assert (best / "model.safetensors").exists()
    records = [r for r in read_log(tmp_path / "run/metrics.jsonl") if r["kind"] == "train"]
    assert ["critic/loss" in r for r in records] == [True, True, False]  # burst_first=2
    assert all(np.isfinite(value) for r in records for value in r.values() if isinstance(value, float))


def test_classifiers_may_rest(config, tmp_path):
    settings = config("schedule.classifier_steps=0", "schedule.steps=2")
    model = load(train(settings, tmp_path / "run", progress=False))
    torch.manual_seed(settings.run.seed)
    start = AttriNet(model.findings, model.image_size, width=settings.model.width)
    assert all(a.weight.equal(b.weight) for a, b in zip(model.classifiers, start.classifiers, strict=True))


def test_more_gpus_than_there_are_are_refused_by_name(config, monkeypatch):
    monkeypatch.setattr(CUDAAccelerator, "is_available", staticmethod(lambda: True))
    monkeypatch.setattr("lightning_fabric.utilities.device_parser._get_all_available_gpus", lambda **which: [0])
    with pytest.raises(AttrinetError, match="run.accelerator=cuda, run.devices=2: not usable here"):
        launch(config("run.accelerator=cuda", "run.devices=2"))


def test_the_accelerator_that_auto_takes_is_a_gpu_of_cuda_or_the_cpu(config, monkeypatch):
    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: True))
    monkeypatch.setattr(MPSAccelerator, "auto_device_count", staticmethod(lambda: 1))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert launch(config("run.accelerator=auto")).device == torch.device("cpu")


def test_a_run_without_a_store_says_which_option_is_missing(config, tmp_path):
    with pytest.raises(AttrinetError, match=r"data\.store is not set"):
        train(config("data.store=''"), tmp_path / "run", progress=False)
