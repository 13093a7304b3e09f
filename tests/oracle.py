"""A classifier and explainer that cannot do better: it knows labels and masks by the image."""

import numpy as np
import torch

THRESHOLDS = {"Edema": 0.5, "Cardiomegaly": 0.5}


class Oracle:
    """Knows the labels by the image, and points at the masks: the best that can be scored. A finding is gone for it
    where most of its mask has changed."""

    findings, name, cost = ("Edema", "Cardiomegaly"), "oracle", 0.0

    def __init__(self, store, blank=()):
        self.store, self.blank, self.explained = store.select(self.findings), blank, []

    def rows(self, images):
        grey = ((images[:, 0] + 1) * 127.5).numpy()
        return [int(np.abs(self.store.images - g).mean((1, 2)).argmin()) for g in grey]

    def logits(self, images):
        out = []
        for row, image in zip(self.rows(images), images, strict=True):
            changed = (image[0] - self.store.batch([row])[0, 0]).abs().numpy() > 1e-4
            present = [self.store.labels[row, c] == 1 and changed[self.store.mask(row, c)].mean() < 0.5
                       for c in range(2)]
            out.append([4.0 if p else -4.0 for p in present])
        return torch.tensor(out)

    def attribute(self, images, finding):
        maps = []
        for row in self.rows(images):
            self.explained.append((row, finding))
            mask = self.store.mask(row, finding)
            empty = np.zeros((32, 32), bool)
            maps.append(empty if mask is None or row in self.blank else mask)
        return torch.tensor(np.stack(maps)).float()
