"""The autoencoders behind Gifsplanation: learning, saving, and the published weights' names."""

import json

import numpy as np
import pytest
import torch

from attrinet.data.images import to_tensor, to_uint8
from attrinet.data.phantom import phantom
from attrinet.errors import AttrinetError
from attrinet.posthoc import autoencoder
from attrinet.posthoc.autoencoder import (
    ConvAutoencoder,
    load_autoencoder,
    save_autoencoder,
    save_progress,
    train_autoencoder,
)
from attrinet.posthoc.xrv_autoencoder import XrvAutoencoder, load_xrv_autoencoder


@pytest.fixture(scope="module")
def radiographs():
    return np.stack([to_uint8(phantom(0, index, 32).image) for index in range(120)])


def test_training_beats_the_mean_image_on_images_it_has_not_seen(radiographs):
    model = train_autoencoder(radiographs[:100], steps=200, batch_size=8, learning_rate=2e-3, width=8, progress=False)
    seen, unseen = to_tensor(radiographs[:100])[:, None], to_tensor(radiographs[100:])[:, None]
    with torch.no_grad():
        error = (model(unseen) - unseen).square().mean()
    assert error < 0.75 * (seen.mean(0) - unseen).square().mean()


class Noting(np.ndarray):
    """Images that keep what was asked of them."""

    def __getitem__(self, key):
        self.asked = [*getattr(self, "asked", ()), key]
        return np.asarray(self)[key]


def test_training_reads_the_images_it_is_to_learn_from_and_no_other(radiographs):
    images, rows = radiographs.view(Noting), np.array([3, 20, 57, 119])
    train_autoencoder(images, rows=rows, steps=6, batch_size=8, width=4, progress=False)
    assert set(np.concatenate(images.asked)) == set(rows)


def test_training_is_repeatable_by_its_seed(radiographs):
    one, two, other = (
        train_autoencoder(radiographs, steps=2, batch_size=2, width=4, seed=seed, progress=False).decoder[0].weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(radiographs, tmp_path, monkeypatch):
    def training(checkpoint=None, source="a", steps=10):
        return train_autoencoder(radiographs, steps=steps, batch_size=2, width=4, progress=False, checkpoint=checkpoint,
                                 source=source)

    def save_and_stop(path, model, optimizer, recipe):
        save_progress(path, model, optimizer, recipe)
        if recipe["step"] == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(autoencoder, "EVERY", 3)
    path, whole = tmp_path / "checkpoint.safetensors", training().state_dict()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(autoencoder, "save_progress", save_and_stop)
        training(path)
    for changed in ({"source": "b"}, {"steps": 11}):
        with pytest.raises(AttrinetError, match=f"another {next(iter(changed))} .*choose another --out"):
            training(path, **changed)
    before = path.read_bytes()
    resumed = training(path).state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    path.write_bytes(before[:5000])
    with pytest.raises(AttrinetError, match="not a usable checkpoint"):
        training(path)


@pytest.mark.parametrize("size", [64, 128, 320])
def test_latents_are_a_sixteenth_of_the_pixels(size):
    model = ConvAutoencoder(size, width=4)
    x = torch.rand(1, 1, size, size) * 2 - 1
    z = model.encode(x)
    assert 16 * z.numel() == x.numel() and model.decode(z).shape == x.shape
    assert model(x).abs().max() <= 1


def test_sizes_that_cannot_be_halved_four_times_are_refused():
    with pytest.raises(AttrinetError, match="multiple of 16"):
        ConvAutoencoder(100)


def test_what_is_saved_is_what_is_loaded(tmp_path):
    model = ConvAutoencoder(32, width=4, latent=3).eval()
    save_autoencoder(model, tmp_path / "ae")
    loaded = load_autoencoder(tmp_path / "ae")
    x = torch.rand(1, 1, 32, 32)
    assert torch.equal(model(x), loaded(x)) and not loaded.training


def test_missing_and_damaged_autoencoders_are_named(tmp_path):
    with pytest.raises(AttrinetError, match="autoencoder.json.*not found"):
        load_autoencoder(tmp_path)
    save_autoencoder(ConvAutoencoder(32, width=4), tmp_path)
    (tmp_path / "autoencoder.safetensors").write_bytes(b"broken")
    with pytest.raises(AttrinetError, match="not a usable autoencoder"):
        load_autoencoder(tmp_path)
    (tmp_path / "autoencoder.json").write_text(json.dumps({"format": 9}))
    with pytest.raises(AttrinetError, match="format 9"):
        load_autoencoder(tmp_path)


def test_torchxrayvisions_autoencoder_loads_from_its_file_and_maps_our_grey_scale(tmp_path):
    torch.manual_seed(0)
    model = XrvAutoencoder()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    loaded = load_xrv_autoencoder(tmp_path / "weights.pt")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert not loaded.training
    x, seen = torch.rand(1, 1, 224, 224) * 2 - 1, {}
    loaded.conv1.register_forward_hook(lambda module, inputs, output: seen.update(given=inputs[0]))
    loaded.conv1_1.register_forward_hook(lambda module, inputs, output: seen.update(made=output))
    with torch.no_grad():
        z = loaded.encode(x)
        decoded = loaded.decode(z)
    assert z.shape == (1, 512, 3, 3) and decoded.shape == x.shape
    torch.testing.assert_close(seen["given"], 1024 * x)  # its own scale is from -1024 to 1024
    torch.testing.assert_close(1024 * decoded, seen["made"])
    assert sum(p.numel() for p in model.parameters()) == 31_120_448  # of torchxrayvision's own class
    with pytest.raises(AttrinetError, match="not found"):
        load_xrv_autoencoder(tmp_path / "none.pt")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(AttrinetError, match="101-elastic"):
        load_xrv_autoencoder(tmp_path / "other.pt")
