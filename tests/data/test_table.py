"""The user's own table: any sensible layout is read, and what is wrong is named."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from attrinet.data.table import table_source
from attrinet.errors import AttrinetError


@pytest.fixture
def images(tmp_path):
    (tmp_path / "png" / "deep").mkdir(parents=True)
    for name in ("a.png", "b.png", "deep/c.jpg"):
        Image.fromarray(np.zeros((30, 20), np.uint8)).save(tmp_path / "png" / name)
    return tmp_path / "png"


def write(tmp_path, frame, name="labels.csv"):
    frame = pd.DataFrame(frame)
    (frame.to_parquet if name.endswith("parquet") else frame.to_csv)(tmp_path / name, index=False)
    return tmp_path / name


FRAME = {"image": ["a.png", "b", "deep/c.jpg"], "patient": ["x", "y", "z"], "Edema": [1, 0, None], "age": [50, 61, 1]}


@pytest.mark.parametrize("name", ["labels.csv", "labels.csv.gz", "labels.parquet"])
def test_names_may_lack_the_suffix_or_have_a_folder_and_label_columns_are_found(tmp_path, images, name):
    source = table_source(write(tmp_path, {**FRAME, "Mass": [0, 1, 1]}, name), images)
    assert source.findings == ("Edema", "Mass")
    assert [s.split("/")[-1] for s in source.manifest["source"]] == ["a.png", "b.png", "c.jpg"]
    assert source.manifest["Edema"].isna().tolist() == [False, False, True]


def test_an_image_without_any_label_is_left_out_and_counted(tmp_path, images):
    source = table_source(write(tmp_path, FRAME), images, findings=["Edema"])
    assert len(source.manifest) == 2 and source.excluded["no label"] == 1


def test_views_are_chosen_and_the_others_counted(tmp_path, images):
    labels = write(tmp_path, {**FRAME, "view": ["PA", "lateral", "AP"], "Mass": [0, 1, 1]})
    source = table_source(labels, images, view_column="view", views=["PA", "AP"])
    assert source.manifest["view"].tolist() == ["PA", "AP"] and source.excluded["other view"] == 1


def test_a_split_column_is_used_as_it_is(tmp_path, images):
    labels = write(tmp_path, {**FRAME, "Edema": [1, 0, 1], "fold": ["train", "valid", "test"]})
    assert table_source(labels, images, split_column="fold").manifest["split"].tolist() == ["train", "valid", "test"]
    labels = write(tmp_path, {**FRAME, "Edema": [1, 0, 1], "fold": ["train", "dev", "test"]})
    with pytest.raises(AttrinetError, match="'fold' holds 'dev'; use train, valid, test"):
        table_source(labels, images, split_column="fold")


def test_boxes_scale_from_the_size_they_were_drawn_at(tmp_path, images):
    labels = write(tmp_path, {**FRAME, "Edema": [1, 1, 1]})
    boxes = write(tmp_path, {"image": ["a.png", "b.png"], "finding": ["Edema"] * 2, "x": [2, 512], "y": [3, 0],
                             "w": [4, 512], "h": [5, 1024], "source_width": [None, 1024],
                             "source_height": [None, 1024]}, "boxes.csv")
    found = table_source(labels, images, findings=["Edema"], boxes=boxes).annotations
    assert found[["source_width", "source_height"]].to_numpy().tolist() == [[20, 30], [1024, 1024]]


def test_masks_are_found_by_name(tmp_path, images):
    (tmp_path / "masks").mkdir()
    mask = np.zeros((30, 20), np.uint8)
    mask[5:9] = 255
    Image.fromarray(mask).save(tmp_path / "masks" / "a_Edema.png")
    labels = write(tmp_path, FRAME)
    source = table_source(labels, images, findings=["Edema"], masks=tmp_path / "masks")
    assert source.annotations[["id", "finding", "kind"]].to_numpy().tolist() == [["a", "Edema", "mask"]]


@pytest.mark.parametrize("options,message", [
    ({"findings": ["Oedema"]}, "no column 'Oedema'; did you mean 'Edema'"),
    ({"image_column": "file"}, "no column 'file'"),
    ({"views": ["PA"]}, "--view-column"),
    ({"findings": ["age"]}, "'age': label"),
    ({"fractions": {"train": -1, "valid": 2}}, "must not be negative"),
])
def test_what_is_wrong_is_named(tmp_path, images, options, message):
    with pytest.raises(AttrinetError, match=message):
        table_source(write(tmp_path, FRAME), images, **options)


def test_wrong_files_are_named(tmp_path, images):
    with pytest.raises(AttrinetError, match="nowhere.csv: not found"):
        table_source(tmp_path / "nowhere.csv", images)
    with pytest.raises(AttrinetError, match="nowhere: no such folder"):
        table_source(write(tmp_path, FRAME), tmp_path / "nowhere")
    boxes = write(tmp_path, {"image": ["a.png"], "finding": ["Edema"], "x": [1], "y": [1], "w": [0], "h": [3]}, "b.csv")
    with pytest.raises(AttrinetError, match="b.csv: line 2: a box needs"):
        table_source(write(tmp_path, FRAME), images, findings=["Edema"], boxes=boxes)


def test_without_patients_the_user_is_warned(tmp_path, images):
    with pytest.warns(UserWarning, match="no patient column"):
        table_source(write(tmp_path, FRAME), images, patient_column=None)


def test_a_split_column_of_anything_is_refused_by_its_values(tmp_path, images):
    labels = write(tmp_path, {**FRAME, "split": ["train", None, 3.5]}, "labels.csv")
    with pytest.raises(AttrinetError, match="labels.csv: column 'split' holds '.*'; use train, valid, test"):
        table_source(labels, images, findings=["Edema"], split_column="split")


def test_an_empty_image_column_is_no_column(tmp_path, images):
    with pytest.raises(AttrinetError, match="no column ''"):
        table_source(write(tmp_path, FRAME), images, image_column="")


def test_a_parquet_table_whose_text_is_no_text_is_named(tmp_path, images):
    path = write(tmp_path, {**FRAME, "image": ["a.png", "QQQQ.png", "c.jpg"]}, "labels.parquet")
    path.write_bytes(path.read_bytes().replace(b"QQQQ", b"\xff\xfe\x80\x80"))
    with pytest.raises(AttrinetError, match="labels.parquet: not a readable table"):
        table_source(path, images, findings=["Edema"])
