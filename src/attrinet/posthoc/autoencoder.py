"""A small convolutional autoencoder for Gifsplanation, trained on the images of a store."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from attrinet.errors import AttrinetError
from attrinet.files import readable, write_atomically
from attrinet.resume import flat_tensors, restore_tensors

FORMAT = 1
EVERY = 250  # steps between checkpoints
LEVELS = 4  # halvings: the latent has a sixteenth of the image's side


class ConvAutoencoder(nn.Module):
    """(B, 1, S, S) in [-1, 1] → latent (B, latent, S/16, S/16) → (B, 1, S, S) in [-1, 1].

    With the default latent of 16 channels, a sixteenth of the pixels' count: narrow enough that what it decodes looks
    like a radiograph (torchxrayvision's, which Gifsplanation's authors use, has about an eleventh). Raises
    AttrinetError for an image size that is no multiple of 16.
    """

    def __init__(self, image_size: int, width: int = 32, latent: int = 16):
        super().__init__()
        if image_size % 2**LEVELS:
            raise AttrinetError(f"image_size={image_size}: the autoencoder needs a multiple of {2**LEVELS}")
        self.image_size, self.width, self.latent = image_size, width, latent
        channels = [width * 2 ** min(level, 2) for level in range(LEVELS)]  # 32 64 128 128
        self.encoder = nn.Sequential(
            *[_block(a, b, stride=2) for a, b in zip([1, *channels], channels, strict=False)],
            nn.Conv2d(channels[-1], latent, 1),
        )
        back = [*channels[::-1], width]
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, back[0], 1),
            *[nn.Sequential(nn.Upsample(scale_factor=2), _block(a, b)) for a, b in zip(back, back[1:], strict=False)],
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def encode(self, images: Tensor) -> Tensor:
        return self.encoder(images)

    def decode(self, latent: Tensor) -> Tensor:
        return self.decoder(latent).tanh()

    def forward(self, images: Tensor) -> Tensor:
        return self.decode(self.encode(images))


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    # no batch norm: an image is explained alone as in any batch; SiLU: the latent is moved along a gradient
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(min(8, outputs), outputs), nn.SiLU())


def train_autoencoder(
    images: np.ndarray, *, rows: np.ndarray | None = None, steps: int = 10_000, batch_size: int = 16,
    learning_rate: float = 1e-3, width: int = 32, latent: int = 16, seed: int = 0, device: str | torch.device = "cpu",
    progress: bool = True, checkpoint: Path | None = None, source: str = "",
) -> ConvAutoencoder:
    """Least squares on random images, Adam with a cosine to zero; in evaluation mode.

    images: (N, S, S) uint8, for instance store.images; it may be a memory map, of which only batches are read.
    rows: those to learn from; all if left out. checkpoint: file that is written every 250 steps, and gone on from where
    it is there already: the weights in the end are those of an undisturbed training. source: which images they are; a
    checkpoint of others, or of another setting, is refused by AttrinetError.
    """
    rows = np.arange(len(images)) if rows is None else rows
    torch.manual_seed(seed)
    model = ConvAutoencoder(images.shape[1], width, latent).to(device)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    recipe = {"source": source, "images": len(rows), "steps": steps, "batch_size": batch_size, "seed": seed,
              "learning_rate": learning_rate, "width": width, "latent": latent}
    start = load_progress(checkpoint, model, optimizer, recipe) if checkpoint and checkpoint.exists() else 0
    with tqdm(range(start, steps), "autoencoder", total=steps, initial=start, disable=not progress) as bar:
        for step in bar:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
            random = np.random.default_rng([seed, step])
            chosen = rows[np.sort(random.integers(0, len(rows), batch_size))]
            x = torch.from_numpy(np.asarray(images[chosen])).to(device).float()[:, None] / 127.5 - 1
            loss = F.mse_loss(model(x), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if progress and step % 50 == 0:  # reading the error waits for the device
                bar.set_postfix(error=f"{loss.item():.4f}", refresh=False)
            if checkpoint and (step + 1) % EVERY == 0:
                save_progress(checkpoint, model, optimizer, recipe | {"step": step + 1})
    return model.eval()


def save_progress(path: Path, model: ConvAutoencoder, optimizer: torch.optim.Adam, recipe: dict) -> None:
    """Weights and Adam's moments, in one file."""
    tensors = flat_tensors(model, {"adam": optimizer})
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(path, lambda part: save_file(tensors, part, {"recipe": json.dumps(recipe)}))


def load_progress(path: Path, model: ConvAutoencoder, optimizer: torch.optim.Adam, recipe: dict) -> int:
    """Restore what save_progress wrote; returns the steps done."""
    try:
        with safe_open(path, framework="pt") as file:
            before = json.loads((file.metadata() or {})["recipe"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        differ = [key for key in recipe if before[key] != recipe[key]]
        if differ:
            raise AttrinetError(f"{path}: of a training with another {differ[0]} ({before[differ[0]]}, not "
                                f"{recipe[differ[0]]}); delete it, or choose another --out")
        restore_tensors(tensors, model, {"adam": optimizer})
        return int(before["step"])
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise AttrinetError(f"{path}: not a usable checkpoint ({' '.join(str(error).split())[:150]}); delete it to "
                            "begin again") from error


def save_autoencoder(model: ConvAutoencoder, folder: str | Path) -> None:
    """Write autoencoder.json and autoencoder.safetensors to a new or existing folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()},
              folder / "autoencoder.safetensors")
    readable(folder / "autoencoder.safetensors")
    config = {"format": FORMAT, "image_size": model.image_size, "width": model.width, "latent": model.latent}
    (folder / "autoencoder.json").write_text(json.dumps(config, indent=2) + "\n")


def load_autoencoder(folder: str | Path, device: str | torch.device = "cpu") -> ConvAutoencoder:
    """What save_autoencoder wrote, in evaluation mode. Raises AttrinetError where it is missing or damaged."""
    folder = Path(folder)
    try:
        config = json.loads((folder / "autoencoder.json").read_text())
        if config["format"] != FORMAT:
            raise AttrinetError(f"{folder / 'autoencoder.json'}: format {config['format']}, but this version reads "
                                f"{FORMAT}; update attrinet")
        model = ConvAutoencoder(config["image_size"], config["width"], config["latent"])
        model.load_state_dict(load_file(folder / "autoencoder.safetensors"))
    except FileNotFoundError as error:
        raise AttrinetError(f"{error.filename or folder}: not found; train one with attrinet train-autoencoder "
                            "STORE") from error
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise AttrinetError(f"{folder}: not a usable autoencoder ({type(error).__name__}: "
                            f"{(str(error).splitlines() or [''])[0]})") from error
    return model.to(device).eval()
