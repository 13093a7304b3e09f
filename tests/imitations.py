"""The data sets that attrinet reads, as their owners lay them out, with phantoms for patients: to run commands on."""

import json

import numpy as np
import pandas as pd
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from attrinet.data import chestxray14, chexpert, vindr
from attrinet.data.images import to_uint8
from attrinet.data.phantom import FINDINGS, phantom
from attrinet.data.vindr_tables import LABELS as VINDR_LABELS

SIDE = 48  # pixels of every image


def patients(n):
    """Number, findings and phantom; every finding in about half of them, so that small splits hold both answers."""
    random = np.random.default_rng(4)
    for k in range(n):
        on = [name for name in FINDINGS if random.random() < 0.5]
        yield k, on, phantom(11, k, SIDE, on)


def lesion_box(mask):
    """x, y, width, height of a mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def save(path, drawn):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(to_uint8(drawn.image)).save(path)


def picture_folder(folder, masks=None):
    """Numbered PNG files and labels.csv beside them; masks: a folder for those of the lesions."""
    rows = []
    for k, on, drawn in patients(40):
        save(folder / "png" / f"{k}.png", drawn)
        rows.append({"image": f"{k}.png", "patient": k, **{name: int(name in on) for name in FINDINGS}, "view": "PA"})
        for name, mask in zip(FINDINGS, drawn.masks, strict=True):
            if masks and mask.any():
                masks.mkdir(exist_ok=True)
                Image.fromarray(mask).save(masks / f"{k}_{name.replace(' ', '_')}.png")
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)


def nih_selection(folder, images=()):
    """labels.csv, boxes.csv and images/ of a selection of ChestX-ray14; `images`: names that the first files get."""
    names = {"Effusion": "Pleural Effusion", "Pneumonia": "Consolidation", "Infiltration": "Edema"}
    rows, boxes = [], []
    for k, on, drawn in patients(40):
        image = images[k] if k < len(images) else f"{k:08d}_000.png"
        save(folder / "images" / image, drawn)
        labels = {name: int(name in on) for name in FINDINGS if name != "Pleural Effusion"}
        rows.append({"image": image, "patient": k, "view": "PA", **labels,
                     **{name: int(like in on) for name, like in names.items()}})
        boxes += [(image, name, *lesion_box(drawn.masks[FINDINGS.index(like)]), SIDE, SIDE)
                  for name, like in names.items() if like in on]
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    columns = ["image", "finding", "x", "y", "w", "h", "source_width", "source_height"]
    pd.DataFrame(boxes, columns=columns).to_csv(folder / "boxes.csv", index=False)


def chestxray14_download(root):
    """Data_Entry_2017.csv, BBox_List_2017.csv, the two lists, images/."""
    lines, boxes, ids = [], [], []
    for k, on, drawn in patients(60):
        id = f"{k + 1:08d}_000"
        labels = [name.replace("Pleural ", "") for name in on if name.replace("Pleural ", "") in chestxray14.LABELS]
        lines.append(f"{id}.png,{'|'.join(labels) or 'No Finding'},0,{k + 1},058Y,M,PA,{SIDE},{SIDE},0.143,0.143,")
        if k >= 40:  # test images alone have boxes, in pixels of 1,024
            boxes += [f"{id}.png,{name.replace('Pleural ', '')},"
                      + ",".join(str(v * 1024 // SIDE) for v in lesion_box(drawn.masks[FINDINGS.index(name)]))
                      for name in on if name in ("Atelectasis", "Cardiomegaly", "Pleural Effusion")]
        save(root / "images" / f"{id}.png", drawn)
        ids.append(f"{id}.png")
    head = ("Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
            "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],")
    (root / "Data_Entry_2017.csv").write_text("\n".join([head, *lines]) + "\n")
    (root / "BBox_List_2017.csv").write_text("\n".join(["Image Index,Finding Label,Bbox [x,y,w,h],,,", *boxes]) + "\n")
    (root / "train_val_list.txt").write_text("\n".join(ids[:40]))
    (root / "test_list.txt").write_text("\n".join(ids[40:]))


def chexpert_download(root, localize):
    """CheXpert-v1.0/ and CheXlocalize's folder beside it, with lesions as contours."""
    tables, contours = {"train": [], "valid": [], "test": []}, {"valid": {}, "test": {}}
    for k, on, drawn in patients(68):
        part = ("train", "valid", "test")[(k >= 48) + (k >= 58)]
        path = f"{part}/patient{k + 1:05d}/study1/view1_frontal.jpg"
        tables[part].append({"Path": path, "Frontal/Lateral": "Frontal", "AP/PA": "AP",
                             **{name: float(name in on) for name in chexpert.LABELS}})
        save((localize / "CheXpert" if part == "test" else root) / path, drawn)
        if part == "valid":
            save(localize / "CheXpert" / path.replace("valid/", "val/"), drawn)
        if part != "train":
            corners = {name: [[[x, y], [x + w, y], [x + w, y + h], [x, y + h]]] for name in on
                       for x, y, w, h in [lesion_box(drawn.masks[FINDINGS.index(name)])]}
            contours[part][f"patient{k + 1:05d}_study1_view1_frontal"] = {"img_size": [SIDE, SIDE], **corners}
    for part in ("train", "valid"):
        frame = pd.DataFrame(tables[part])
        frame.assign(Path="CheXpert-v1.0/" + frame["Path"]).to_csv(root / f"{part}.csv", index=False)
    for part, name in (("valid", "val"), ("test", "test")):
        frame = pd.DataFrame(tables[part]).drop(columns=["Frontal/Lateral", "AP/PA"])
        frame.to_csv(localize / "CheXpert" / f"{name}_labels.csv", index=False)
        (localize / "CheXlocalize").mkdir(exist_ok=True)
        (localize / "CheXlocalize" / f"gt_annotations_{name}.json").write_text(json.dumps(contours[part]))
        (localize / "CheXlocalize" / f"gt_segmentations_{name}.json").write_text("{}")


def vindr_download(root):
    """PhysioNet's folder: DICOM files, labels and boxes of three radiologists who agree."""
    like = dict(zip(vindr.FINDINGS, FINDINGS, strict=True))
    tables = {"train": ([], []), "test": ([], [])}
    for k, on, drawn in patients(60):
        part, id = "train" if k < 40 else "test", f"{k:032x}"
        path = root / part / f"{id}.dicom"
        path.parent.mkdir(parents=True, exist_ok=True)
        plain_dicom(path, to_uint8(drawn.image))
        for reader in ("R1", "R2", "R3") if part == "train" else ("",):
            found = {name for name in vindr.FINDINGS if like[name] in on}
            tables[part][0].append({"image_id": id, "rad_id": reader, **{n: int(n in found) for n in VINDR_LABELS}})
            for name in found or {"No finding"}:
                x, y, w, h = lesion_box(drawn.masks[FINDINGS.index(like[name])]) if found else [""] * 4
                corners = (x, y, x + w, y + h) if found else [""] * 4
                tables[part][1].append({"image_id": id, "rad_id": reader, "class_name": name,
                                        **dict(zip(("x_min", "y_min", "x_max", "y_max"), corners, strict=True))})
    (root / "annotations").mkdir()
    for part, (labels, boxes) in tables.items():
        left_out = ["rad_id"] if part == "test" else []
        other = {"Other diseases": "Other disease"} if part == "test" else {}
        frame = pd.DataFrame(labels).drop(columns=left_out).rename(columns=other)
        frame.to_csv(root / "annotations" / f"image_labels_{part}.csv", index=False)
        frame = pd.DataFrame(boxes).drop(columns=left_out)
        frame.to_csv(root / "annotations" / f"annotations_{part}.csv", index=False)


def plain_dicom(path, pixels):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PixelRepresentation, data.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelData = 7, pixels.tobytes()
    pydicom.dcmwrite(path, data, enforce_file_format=True)
