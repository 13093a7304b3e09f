"""Runs in a user and mount namespace of its own (unshare -rm): a disk that fills up, is read-only, and gets room again.

    unshare -rm python tests/faults/full_disk.py FOLDER

Prints one JSON object: what each attempt said, and whether the end is that of an undisturbed run.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch

from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.errors import AttrinetError
from attrinet.train.config import load_config
from attrinet.train.loop import train

TINY = ("model.width=4", "run.batch_size=2", "schedule.steps=6", "schedule.critic_steps=1", "schedule.burst=0",
        "schedule.classifier_steps=1", "run.validate_every=3", "run.checkpoint_every=1", "run.log_every=1",
        "run.accelerator=cpu")


def mount(options: str, folder: Path) -> None:
    subprocess.run(["mount", *options.split(), str(folder)], check=True)


def said(action) -> str:
    try:
        action()
    except AttrinetError as error:
        return str(error)
    return "done"


def main(root: Path) -> dict:
    torch.set_num_threads(1)
    disk = root / "disk"
    disk.mkdir()
    source = phantom_source(60, 32, seed=1)
    whole = prepare(source, root / "store", 32, progress=False)
    config = load_config(None, (f"data.store={whole.path}", *TINY))
    train(config, root / "run", progress=False)
    out = {}

    mount("-t tmpfs -o size=40k none", disk)
    out["prepare, full"] = said(lambda: prepare(source, disk / "store", 32, progress=False))
    mount("-o remount,ro", disk)
    out["prepare, read-only"] = said(lambda: prepare(source, disk / "other", 32, progress=False))
    out["train, read-only"] = said(lambda: train(config, disk / "run", progress=False))
    mount("-o remount,rw,size=400k", disk)
    out["prepare, room again"] = said(lambda: prepare(source, disk / "store", 32, progress=False))
    out["same store"] = (disk / "store/images.npy").read_bytes() == (root / "store/images.npy").read_bytes()
    subprocess.run(["umount", "-l", str(disk)], check=True)

    size = next((root / "run/checkpoints").iterdir()).stat().st_size
    run = disk / "run"
    for name, room in (("first checkpoint", size // 2), ("third checkpoint", 3 * size)):
        mount(f"-t tmpfs -o size={room} none", disk)
        out[f"train, full at the {name}"] = said(lambda: train(config, run, progress=False))
        mount("-o remount,size=100M", disk)
        out[f"train, room again after the {name}"] = said(lambda: train(config, run, resume=True, progress=False))
        out[f"same run after the {name}"] = all(
            (run / path).read_bytes() == (root / "run" / path).read_bytes()
            for path in ("metrics.jsonl", "best/model.safetensors", "best/thresholds.json",
                         "checkpoints/step-00000006.safetensors"))
        subprocess.run(["umount", "-l", str(disk)], check=True)
    return out


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1])), indent=1))
