"""Every choice of a training run, typed; the defaults are the paper's (§3.7). A YAML says only what differs.

The classes have slots, so that a misspelt option is an error in Python too.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from attrinet.errors import AttrinetError, said


@dataclass(slots=True)
class DataConfig:
    store: str = ""  # folder that `attrinet prepare` wrote
    findings: list[str] = field(default_factory=list)  # empty: all of the store
    contrast: list[float] = field(default_factory=lambda: [0.8, 1.4])  # training jitter, factor from … to …
    brightness: list[float] = field(default_factory=lambda: [0.8, 1.1])
    resident: str = "auto"  # images in the device's memory: always, never; auto: on a GPU where a third of it is enough


@dataclass(slots=True)
class ModelConfig:
    kind: str = "attrinet"  # attrinet, or a baseline of §4.1.3: resnet50, bcos_resnet50; or backbone, see there
    width: int = 64  # channels of the first convolutions
    depth: int = 50  # of a baseline: 50, or 18 for a small machine
    backbone: str = ""  # of kind backbone: densenet121, efficientnet-b0, …; see attrinet.baselines.backbone
    weights: str = ""  # of kind backbone: file of pretrained weights to start from
    pool: int | None = None  # γ of eq. 4, pixels; none: 32 at 320 pixels, see attrinet.nets.geometry
    critic_levels: int | None = None  # none: 5 at 320 pixels
    output: str = "tanh"  # M = tanh(x + out) − x (Table 9); difference: tanh(x + out) − tanh(x), which can be zero


@dataclass(slots=True)
class LossConfig:
    """λ of eq. 7; a loss with weight 0 is not computed (Table 4 is five such configurations)."""

    adversarial: float = 1.0  # eq. 2; 0 also leaves out the critic's steps
    classification: float = 100.0
    l1: float = 100.0  # eq. 3
    l1_negative: float = 2.0  # α₀
    l1_positive: float = 1.0  # α₁
    l1_norm: str = "mean"  # mean: |M| averaged over pixels (authors' code); sum: the literal norm
    center: float = 0.01  # eq. 5
    guidance: float = 30.0  # eq. 6; counts only with guidance.mode other than none
    guidance_reduction: str = "mean"  # over the positive batch. mean: the text; sum: the authors' code
    gradient_penalty: float = 10.0


@dataclass(slots=True)
class GuidanceConfig:
    mode: str = "none"  # see attrinet.guidance.MODES
    annotated_rate: float = 0.1  # share of generator steps whose positives are all annotated images (§3.5.2)
    masks: dict[str, str] = field(default_factory=dict)  # finding: mask file (PNG or NPY) in place of its own
    per_finding: int | None = None  # use at most so many annotated images a finding; none: all
    counts: dict[str, int] = field(default_factory=dict)  # finding: the same for single findings (Table 1)
    center_square: float = 0.9375  # side of the square where a finding has no annotation; 300 of 320 pixels


@dataclass(slots=True)
class ScheduleConfig:
    steps: int = 100_000  # generator steps
    critic_steps: int = 5  # a generator step
    classifier_steps: int = 5  # a generator step
    burst: int = 100  # critic steps at each of the first burst_first generator steps and every burst_every-th
    burst_first: int = 25
    burst_every: int = 100  # 0: none but the first
    burst_mode: str = "extra"  # extra: on top of critic_steps (text); instead: in their place (authors' code)


@dataclass(slots=True)
class OptimizerConfig:
    lr: float = 1e-4  # Adam, of generator and critic
    beta1: float = 0.0
    beta2: float = 0.9
    weight_decay: float = 1e-5
    classifier_lr: float = 1e-4  # Adam with default betas
    center_lr: float = 0.1  # SGD


@dataclass(slots=True)
class BaselineConfig:
    """What only the baselines have (§4.1.3); what the text leaves open is the authors' public code's."""

    epochs: int = 50
    lr: float = 1e-4  # Adam, default betas
    weight_decay: float = 1e-5  # authors' code
    guidance: float = 0.1  # λ of eq. 6 on B-cos's own explanation (authors' code); counts only with guidance.mode


@dataclass(slots=True)
class RunConfig:
    batch_size: int = 4  # over all devices together; Attri-Net: positives a step, and as many negatives
    seed: int = 0
    precision: str = "fp32"  # fp32, or bf16 (autocast)
    compile: str = "auto"  # auto: on a GPU, networks are compiled where Triton can; never
    checkpointing: bool = False  # of Attri-Net's generator: less memory, more time, the same gradients
    accelerator: str = "auto"  # auto, cpu, cuda
    devices: int = 1
    nodes: int = 1
    validate_every: int = 1000  # generator steps; a baseline is validated after every epoch
    checkpoint_every: int = 500
    log_every: int = 50
    sample_every: int = 1000
    eval_batch_size: int = 16


@dataclass(slots=True)
class Config:
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    run: RunConfig = field(default_factory=RunConfig)


CHOICES = {
    "model.kind": ("attrinet", "resnet50", "bcos_resnet50", "backbone"),
    "model.depth": (50, 18),
    "model.output": ("tanh", "difference"),
    "data.resident": ("auto", "always", "never"),
    "losses.l1_norm": ("mean", "sum"),
    "losses.guidance_reduction": ("mean", "sum"),
    "schedule.burst_mode": ("extra", "instead"),
    "run.precision": ("fp32", "bf16"),
    "run.compile": ("auto", "never"),
}
AT_LEAST_ONE = (
    "schedule.steps", "run.batch_size", "run.devices", "run.nodes", "run.validate_every", "run.checkpoint_every",
    "run.log_every", "run.sample_every", "run.eval_batch_size", "model.width",
    "baseline.epochs",
)
AT_MOST = {"run.seed": 2**32 - 1, "optimizer.beta1": 0.9999, "optimizer.beta2": 0.999999, "guidance.annotated_rate": 1,
           "guidance.center_square": 1}
# options that say nothing about the other kind of model
ATTRINET_ONLY = ("losses.", "schedule.", "optimizer.", "model.pool", "model.critic_levels", "model.output",
                 "run.validate_every", "run.checkpointing", "run.compile")
BACKBONE_ONLY = ("model.backbone", "model.weights")
BASELINE_ONLY = ("baseline.", "model.depth", *BACKBONE_ONLY)
NO_BACKBONES = ("model.width", "model.depth")  # a backbone's are in its name


UNREADABLE = (OmegaConfBaseException, yaml.YAMLError, ArithmeticError, LookupError, OSError, RecursionError, TypeError,
              ValueError)  # what OmegaConf and PyYAML raise on hostile text


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """Defaults, then the YAML file, then `key=value` overrides (dotted keys), checked.

    Raises AttrinetError naming the file or option: not found, not YAML, unknown key (with the nearest), wrong type.
    """
    parts = [OmegaConf.structured(Config)]
    if path is not None:
        if not Path(path).is_file():
            raise AttrinetError(f"{path}: no such configuration file")
        try:
            loaded = OmegaConf.load(path)
        except UNREADABLE as error:
            raise AttrinetError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from error
        if not OmegaConf.is_dict(loaded):
            raise AttrinetError(f"{path}: want sections such as data:, model:, losses:, with key: value below")
        parts.append(loaded)
    for override in overrides:
        if "=" not in override:
            raise AttrinetError(f"{override!r}: an override is key=value, for instance schedule.steps=1000")
    merged = parts[0]
    for source, part in [(path, p) for p in parts[1:]] + [(o, None) for o in overrides]:
        try:
            merged = OmegaConf.merge(merged, OmegaConf.from_dotlist([source]) if part is None else part)
        except ConfigKeyError as error:
            key = str(error.full_key)
            raise AttrinetError(f"{source}: unknown option {key!r}; {_nearest(key)}") from error
        except UNREADABLE as error:
            raise AttrinetError(f"{source}: {said(error)}") from error
    for source in (path, *overrides):
        text = str(source) if source is not path else Path(path).read_text() if path is not None else ""
        if "${" in text:  # a configuration from somebody else must not read the environment
            raise AttrinetError(f"{source}: '${{…}}' is not filled in here; write the value itself")
    try:
        config: Config = OmegaConf.to_object(merged)
    except UNREADABLE as error:
        raise AttrinetError(f"{path or ', '.join(overrides)}: {said(error)}") from error
    check_config(config)
    return config


def dump_config(config: Config) -> str:
    """The complete configuration as YAML, re-runnable as it is."""
    return yaml.safe_dump(asdict(config), sort_keys=False)


def check_config(config: Config) -> None:
    """Raise AttrinetError for a value outside its choices or range."""
    values = dict(flat(config))
    for key, choices in CHOICES.items():
        if values[key] not in choices:
            raise AttrinetError(f"{key}={values[key]}: choose one of {', '.join(map(str, choices))}")
    for key in AT_LEAST_ONE:
        if values[key] < 1:
            raise AttrinetError(f"{key}={values[key]}: must be 1 or more")
    for key, value in values.items():
        if isinstance(value, (int, float)) and not 0 <= value < math.inf:
            raise AttrinetError(f"{key}={value}: must be a number that is not negative")
        if key in AT_MOST and value > AT_MOST[key]:
            raise AttrinetError(f"{key}={value}: must be at most {AT_MOST[key]}")
    if not config.guidance.center_square:
        raise AttrinetError("guidance.center_square=0: a square without room guides nowhere; the default is 0.9375")
    for name, count in values["guidance.counts"].items():
        if not isinstance(count, int) or count < 0:
            raise AttrinetError(f"guidance.counts: {name}={count} must be a whole number that is not negative")
    for key in ("data.contrast", "data.brightness"):
        if len(values[key]) != 2 or not 0 <= values[key][0] <= values[key][1] < math.inf:
            raise AttrinetError(f"{key}={values[key]}: want two factors, from and to, for instance [0.8, 1.4]")
    check_kind(config.model.kind, values)
    guided = config.guidance.mode != "none" and config.losses.guidance
    if not (guided or config.losses.adversarial or config.losses.classification or config.losses.l1
            or config.losses.center):
        raise AttrinetError("losses: every weight is 0, so that the generator would learn nothing")
    ranks = config.run.devices * config.run.nodes
    if config.run.batch_size % ranks:
        raise AttrinetError(f"run.batch_size={config.run.batch_size} cannot be shared evenly by {ranks} devices")


def check_kind(kind: str, values: dict[str, object]) -> None:
    """Raise AttrinetError for an option that this kind of model would ignore."""
    if kind == "attrinet":
        hints = {BASELINE_ONLY: "is a baseline's; Attri-Net has sections schedule, losses and optimizer "
                                "(model.kind=attrinet)"}
    else:
        hints = {ATTRINET_ONLY: "is Attri-Net's; a baseline has baseline.epochs, baseline.lr, baseline.guidance "
                                f"(model.kind={kind})"}
        if kind == "backbone":
            hints[NO_BACKBONES] = f"a backbone's size is in its name, model.backbone={values['model.backbone']}"
        else:
            hints[BACKBONE_ONLY] = f"is for model.kind=backbone, not {kind}"
    for key, default in flat(Config()):
        for foreign, hint in hints.items():
            if key.startswith(foreign) and values[key] != default:
                raise AttrinetError(f"{key}={values[key]}: {hint}")
    if kind == "backbone" and not values["model.backbone"]:
        raise AttrinetError("model.kind=backbone: say which, for instance model.backbone=densenet121")
    if kind in ("resnet50", "backbone") and values["guidance.mode"] != "none":
        raise AttrinetError(f"guidance.mode={values['guidance.mode']}: a {values['model.backbone'] or 'ResNet50'} has "
                            "no explanation of its own that could be guided; use model.kind=bcos_resnet50")


def flat(node, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every option with its dotted key."""
    for f in fields(node):
        value = getattr(node, f.name)
        if is_dataclass(value):
            yield from flat(value, f"{prefix}{f.name}.")
        else:
            yield prefix + f.name, value


def _nearest(key: str) -> str:
    if key.split(".")[-1] in ("size", "image_size"):
        return "images have the size of the store (attrinet prepare … --size)"
    keys = [name for name, _ in flat(Config())]
    by_leaf = {name.split(".")[-1]: name for name in keys}
    leaf = difflib.get_close_matches(key.split(".")[-1], by_leaf, 1, cutoff=0.6)
    near = by_leaf[leaf[0]] if leaf else difflib.get_close_matches(key, keys, 1, cutoff=0)[0]
    return f"did you mean {near!r}?"
