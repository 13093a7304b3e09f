"""How fast is Attri-Net, beside a plain version of the published procedure that shares its networks?

Plain: one finding a pass, float32, instance norm, the libraries' own convolutions; training one critic step at a time,
the generator's graph kept and walked in critic and classifier steps, freed memory given back. Both are timed in one
process, in turn, by the processor time of all threads, which does not count what other programs of the machine take;
--wall counts real time. JSON, and a Markdown table of it; docs/performance.md has both.

    python benchmarks/speed.py inference --size 320 --batch 1 --bf16 --openvino --wall --out inference.json
    python benchmarks/speed.py training --size 320 --wall
    python benchmarks/speed.py memory --size 320

On a GPU, --precision bf16 for training (--steps 100: a run with its bursts), memory and bulk (explain-store),
--batch 16 --bf16 --compile for inference: benchmarks/gpu.sh calls them all. --out is written after every stage, so that
a time limit leaves what was measured until then; "complete" says whether that is all.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from attrinet import AttriNet, losses
from attrinet.allocator import give_back_freed_memory, keep_freed_memory
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.sampling import Sampler
from attrinet.data.store import Store
from attrinet.export.bulk import Bulk, explain_store
from attrinet.files import write_json
from attrinet.folder import save_model
from attrinet.nets import generator as generator_file
from attrinet.nets import layers
from attrinet.nets.compiled import compile_in_place, compiles
from attrinet.provenance import provenance
from attrinet.train.config import Config, load_config
from attrinet.train.finite import FiniteCheck
from attrinet.train.run import PRECISIONS, resident
from attrinet.train.schedule import critic_steps
from attrinet.train.state import new_state
from attrinet.train.steps import Steps, critic_terms, judge


@contextmanager
def plain_networks():
    with (mock.patch.object(layers, "convolve", lambda conv, x: conv(x)),
          mock.patch.object(generator_file, "convolve", lambda conv, x: conv(x))):
        yield


def seconds(function: Callable[[], object], device: torch.device, wall: bool) -> float:
    clock = time.perf_counter if wall or device.type == "cuda" else time.process_time
    start = clock()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def summary(values: list[float]) -> dict:
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "repeats": len(values)}


def matmul_rate(device: torch.device, wall: bool, dtype: torch.dtype = torch.float32) -> float:
    """FLOP/s of a large matrix product."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device, dtype=dtype)
    a @ a  # warms up
    return 2 * side**3 / statistics.median(seconds(lambda: a @ a, device, wall) for _ in range(5))


class FlopCounter(TorchDispatchMode):
    """PyTorch's FlopCounterMode without its hooks on modules, which a gradient of a gradient does not bear."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        self.total += count(*args, **(kwargs or {}), out_val=out) if count else 0
        return out


# ---- inference


def inference(options: argparse.Namespace, device: torch.device) -> Iterator[dict]:
    model = AttriNet([f"finding {k}" for k in range(5)], options.size, width=options.width, critic=False)
    model = model.to(device).eval()
    x = torch.rand(options.batch, 1, options.size, options.size, device=device) * 2 - 1

    @torch.no_grad()
    def plain() -> torch.Tensor:
        with plain_networks():
            return torch.cat([model.generator(x, c)[0] for c in range(5)], 1)

    @torch.no_grad()
    def half() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return model.attribution_maps(x)[0]

    ways = {"plain": plain, "fp32": lambda: model.attribution_maps(x)[0]} | ({"bf16": half} if options.bf16 else {})
    if options.openvino:
        ways |= openvino_ways(model, x)
    if options.compile:
        ways |= {f"{name}, compiled": compiled(model, x, name, ways[name]) for name in ("fp32", "bf16") if name in ways}
    times: dict[str, list[float]] = {name: [] for name in ways}
    rates, dtype = [], torch.bfloat16 if options.bf16 and device.type == "cuda" else torch.float32
    maps = {name: way() for name, way in ways.items()}  # warms up
    with FlopCounter() as counter:
        plain()
    for _ in range(options.repeats):
        rates.append(matmul_rate(device, options.wall, dtype))
        for name, way in ways.items():
            times[name].append(seconds(way, device, options.wall))
        yield speeds(options, times, rates, maps, counter.total)


def speeds(
    options: argparse.Namespace, times: dict[str, list[float]], rates: list[float], maps: dict[str, torch.Tensor],
    flop: int,
) -> dict:
    """Of the ways of inference, so far."""
    out = {"matrix product, FLOP/s": summary(rates), "FLOP of the plain way": flop}
    for name, values in times.items():
        useful = flop / statistics.median(values)
        out[name] = {
            "seconds an image": summary([v / options.batch for v in values]),
            "times as fast as plain": summary([p / v for p, v in zip(times["plain"], values, strict=True)]),
            "useful FLOP/s": useful, "share of the matrix product": useful / statistics.median(rates),
            "largest difference of a map": (maps[name] - maps["plain"]).abs().max().item(),
        }
    return out


def compiled(
    model: AttriNet, x: torch.Tensor, name: str, way: Callable[[], torch.Tensor]
) -> Callable[[], torch.Tensor]:
    """On a GPU as in explain-store; else the way with a generator that torch.compile made of plain convolutions."""
    if compiles(x.device):
        twin = copy.deepcopy(model)
        twin.autocast = torch.bfloat16 if name == "bf16" else None
        compile_in_place(twin.generator, inference=True)
        return lambda: twin.attribution_maps(x)[0]
    with plain_networks():
        generator = torch.compile(copy.deepcopy(model.generator), dynamic=False)

    def run() -> torch.Tensor:
        with plain_networks(), mock.patch.dict(model._modules, generator=generator):
            return way()

    return run


def openvino_ways(model: AttriNet, x: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    """Engines of `attrinet export`. Of random weights, so for their speed: int8 is fitted to x alone."""
    from attrinet.export.onnx import write_onnx
    from attrinet.export.openvino import openvino_maps, precisions
    from attrinet.export.precision import write_as

    ways = {}
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(model, Path(folder) / "model.onnx", {})
        for precision in precisions():
            path = Path(folder) / f"{precision}.xml"
            write_as(Path(folder) / "model.onnx", path, precision, x[:1])
            ways[f"OpenVINO {precision}"] = partial(openvino_maps(path, precision), x)
    return ways


# ---- training


def new_steps(config: Config, store: Store, device: str) -> Steps:
    torch.manual_seed(config.run.seed)
    fabric = Fabric(accelerator=device, devices=1, precision=PRECISIONS[config.run.precision])
    model = AttriNet(store.findings, store.size, width=config.model.width).to(fabric.device)
    sampler = Sampler(store.labels, store.split("train"), store.findings, config.run.batch_size, config.run.seed)
    return Steps(fabric, new_state(model, config.optimizer), store, sampler, None, config)


def plain_update(steps: Steps, name: str, loss: torch.Tensor) -> None:
    loss.backward()  # through everything, the generator too
    steps.state.optimizers[name].step()
    for parameter in steps.state.model.parameters():
        parameter.grad = None


def plain_critic(steps: Steps, count: int) -> list[torch.Tensor]:
    out, model = [], steps.state.model
    for _ in range(count):
        finding, neg, pos, random = steps._next("critic")
        x_neg, x_pos = steps._images(neg, random), steps._images(pos, random)
        fake = model.generator(x_pos, finding)[1]
        alpha = torch.tensor(random.uniform(size=len(pos)), dtype=x_pos.dtype, device=x_pos.device)
        loss = losses.critic_loss(model.critic(x_neg, finding), model.critic(fake, finding))
        penalty = losses.gradient_penalty(lambda x, c=finding: model.critic(x, c), x_pos, fake.detach(), alpha)
        loss = loss + steps.config.losses.gradient_penalty * penalty
        plain_update(steps, "critic", loss)
        out.append(loss.detach())
    return out


def plain_classifier(steps: Steps, count: int) -> list[torch.Tensor]:
    out, model = [], steps.state.model
    for _ in range(count):
        finding, neg, pos, random = steps._next("classifier")
        x = torch.cat([steps._images(neg, random), steps._images(pos, random)])
        labels = (torch.arange(len(x), device=x.device) >= len(x) // 2).float()
        loss = losses.classification_loss(model.classify(model.generator(x, finding)[0], finding), labels)
        plain_update(steps, "classifier", steps.config.losses.classification * loss)
        out.append(loss.detach())
    return out


def parts(steps: Steps, plain: bool) -> dict[str, Callable[[], object]]:
    """The parts of a training step, each returning its losses."""
    schedule = steps.config.schedule
    critic, classifier = (plain_critic, plain_classifier) if plain else (Steps.critic, Steps.classifier)
    return {
        "critic": lambda: critic(steps, schedule.critic_steps),
        "generator": lambda: list(steps.generator().values()),
        "classifier": lambda: classifier(steps, schedule.classifier_steps),
    }


def a_run(steps: Steps, count: int) -> None:
    """So many generator steps as the paper's schedule has them from step 100 on, with a burst in every 100."""
    finite = FiniteCheck(Path(), steps.config, steps.fabric, steps.store, steps.state, lambda *_: np.empty(0, int))
    for k in range(count):
        made = {"critic": steps.critic(critic_steps(100 + k, steps.config.schedule)),
                **{name: [value] for name, value in steps.generator().items()},
                "classifier": steps.classifier(steps.config.schedule.classifier_steps)}
        finite.losses(made)


def training(options: argparse.Namespace, device: torch.device) -> Iterator[dict]:
    config = load_config(None, [f"model.width={options.width}", f"run.precision={options.precision}",
                                f"run.compile={options.run_compile}"])
    with tempfile.TemporaryDirectory() as folder:
        store = prepare(phantom_source(60, options.size, seed=1), Path(folder) / "store", options.size, progress=False)
        ours = new_steps(config, store, device.type)
        plain = copy.copy(ours)
        plain.fabric = Fabric(accelerator=device.type, devices=1)
        plain.state = new_state(copy.deepcopy(ours.state.model), config.optimizer)  # a copy is not compiled
        plain._critic_terms, plain._judge = critic_terms, judge  # FlopCounter would break what is compiled
        if resident(config.data.resident, store.images.nbytes, ours.fabric.device):
            ours.store = store.select(store.findings)
            ours.store.hold(ours.fabric.device)
        times: dict[str, list[dict[str, float]]] = {"plain": [], "ours": []}
        gap, rates, data = 0.0, [], []
        dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
        for repeat in range(options.repeats + 1):
            said: dict[str, list] = {}
            rates.append(matmul_rate(device, options.wall, dtype))
            for name, steps in (("plain", plain), ("ours", ours)):
                took, values = {}, []
                give_back_freed_memory() if name == "plain" else keep_freed_memory()
                for part, run in parts(steps, name == "plain").items():
                    # plain networks in the plain steps only
                    def work(run=run, values=values, name=name) -> None:
                        if name == "plain":
                            with plain_networks():
                                values += run()
                        else:
                            values += run()

                    took[part] = seconds(work, device, options.wall)
                said[name] = [float(v) for v in values]
                if repeat:  # the first warms up
                    times[name].append(took)
            if not repeat:  # from the same weights: Adam takes the sign of tiny gradients, so later losses drift apart
                gap = abs(said["ours"][0] - said["plain"][0]) / abs(said["plain"][0])
                needed = flops(plain)
            _, neg, pos = ours.sampler.draw("critic", repeat)
            random = ours._random("critic", repeat)
            data.append(seconds(lambda n=neg, p=pos, r=random: (ours._images(n, r), ours._images(p, r)), device,
                                options.wall))
            if repeat:
                yield {"relative difference of the first loss": gap, **step_speeds(config, times, data, rates, needed)}
        run = []
        for _ in range(options.repeats if options.steps else 0):
            run.append(seconds(lambda: a_run(ours, options.steps), device, options.wall) / options.steps)
            yield {"seconds a step of a run": summary(run)}


def step_speeds(
    config: Config, times: dict[str, list[dict[str, float]]], data: list[float], rates: list[float], needed: int
) -> dict:
    """Of the steps of training, so far."""
    whole = {name: [sum(t.values()) for t in each] for name, each in times.items()}
    steps_a_round = 1 + config.schedule.critic_steps + config.schedule.classifier_steps
    useful = {name: needed / statistics.median(values) for name, values in whole.items()}
    return {
        "matrix product, FLOP/s": summary(rates),
        "FLOP of a step without a gradient through the frozen generator": needed, "useful FLOP/s": useful,
        "share of the matrix product": {name: rate / statistics.median(rates) for name, rate in useful.items()},
        "seconds a step": {name: summary(values) for name, values in whole.items()},
        "times as fast as plain": summary([p / o for p, o in zip(whole["plain"], whole["ours"], strict=True)]),
        "seconds of the parts": {name: {part: summary([t[part] for t in each]) for part in each[0]}
                                 for name, each in times.items()},
        "seconds of the data": summary([steps_a_round * d for d in data]),
    }


def flops(steps: Steps) -> int:
    """Of our step by direct convolution, where nothing is done that its mathematics does not need. Of a copy: no state
    changes."""
    with plain_networks(), FlopCounter() as counter:
        for run in parts(copy.deepcopy(steps), plain=False).values():
            run()
    return counter.total


# ---- memory


def memory(options: argparse.Namespace, device: torch.device) -> Iterator[dict]:
    """Peak of this process over a generator step with its critic and classifier steps."""
    keep_freed_memory()  # as attrinet train does
    config = load_config(None, [f"model.width={options.width}", f"run.precision={options.precision}"])
    with tempfile.TemporaryDirectory() as folder:
        store = prepare(phantom_source(60, options.size, seed=1), Path(folder) / "store", options.size, progress=False)
        steps = new_steps(config, store, device.type)
        steps.state.model.generator.checkpointing = options.checkpointing
        steps.generator()
        steps.critic(config.schedule.critic_steps)
        steps.classifier(config.schedule.classifier_steps)
    if device.type == "cuda":
        yield {"peak, GB": torch.cuda.max_memory_allocated(device) / 1e9}
    else:
        yield {"peak, GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}


# ---- explanations of a whole store


def bulk(options: argparse.Namespace, device: torch.device) -> Iterator[dict]:
    """Images a second of explain-store, files written: one process, after it has explained another split."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = prepare(phantom_source(options.images, options.size, seed=1), folder / "store", options.size,
                        workers=os.cpu_count() or 1, progress=False)
        model = AttriNet(store.findings, store.size, width=options.width, critic=False)
        save_model(model, folder / "model", thresholds=dict.fromkeys(store.findings, 0.5),
                   preprocessing=store.preprocessing)
        for dtype in ("float32", "float16"):
            for split in ("test", "train"):  # the first compiles
                job = Bulk(folder / "model", store.path, split, folder / f"{dtype}-{split}", dtype, str(device),
                           precision=options.precision)
                took = seconds(lambda job=job: explain_store(job, progress=False), device, True)
            images = len(store.split("train"))
            yield {"images": images, f"images/s, {dtype}": images / took}


def markdown(result: dict) -> str:
    """The medians as a table, with the lowest and highest repeat."""

    def shown(value: dict) -> str:
        return f"{value['median']:.3g} ({value['low']:.3g} to {value['high']:.3g})"

    lines = []
    if "plain" in result:
        lines += ["| way | seconds an image | times as fast as plain | share of the matrix product |",
                  "| --- | --- | --- | --- |"]
        lines += [f"| {name} | {shown(way['seconds an image'])} | {shown(way['times as fast as plain'])} | "
                  f"{way['share of the matrix product']:.2f} |"
                  for name, way in result.items() if isinstance(way, dict) and "seconds an image" in way]
    if "seconds of the parts" in result:
        each, step = result["seconds of the parts"], result["seconds a step"]
        lines += ["| seconds | plain | ours |", "| --- | --- | --- |"]
        lines += [f"| {part} | {shown(each['plain'][part])} | {shown(each['ours'][part])} |" for part in each["plain"]]
        lines += [f"| data (in the parts) | | {shown(result['seconds of the data'])} |",
                  f"| a step | {shown(step['plain'])} | {shown(step['ours'])} |",
                  f"| times as fast | 1 | {shown(result['times as fast as plain'])} |"]
        lines += [f"| a step of a run, with its bursts | | {shown(result['seconds a step of a run'])} |"
                  for _ in "1" if "seconds a step of a run" in result]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["inference", "training", "memory", "bulk"])
    parser.add_argument("--size", type=int, default=320, help="pixels a side")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1, help="images; of training it is the paper's 4 + 4")
    parser.add_argument("--images", type=int, default=2000, help="of the store of bulk; 70 %% are explained")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bf16", action="store_true", help="inference in bfloat16 too")
    parser.add_argument("--steps", type=int, default=0, help="training as a run of so many steps too, with its bursts")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of training, and its memory")
    parser.add_argument("--run-compile", choices=["auto", "never"], default="auto", help="of training")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="inference by torch.compile too")
    parser.add_argument("--openvino", action="store_true", help="inference by attrinet export's engines too")
    parser.add_argument("--checkpointing", action="store_true", help="memory with run.checkpointing")
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32  # as convolutions
    device = torch.device(options.device)
    result = {
        "command": " ".join(["python benchmarks/speed.py", *sys.argv[1:]]), "provenance": provenance(device), "seed": 0,
        "clock": "real time" if options.wall or device.type == "cuda" else "processor time", "complete": False,
    }
    measure = {"inference": inference, "training": training, "memory": memory, "bulk": bulk}[options.what]
    for stage in itertools.chain(measure(options, device), [{"complete": True}]):
        result |= stage
        if options.out:
            write_json(options.out, result)
    print(json.dumps(result, indent=2))
    print(markdown(result))


if __name__ == "__main__":
    main()
