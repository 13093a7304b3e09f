"""The user's own table: any sensible layout is read, and what is wrong is named."""

import unicodedata
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from attrinet.data.manifest import renamed
from attrinet.data.prepare import prepare
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


@pytest.mark.parametrize("sign", [";", "\t"])
def test_semicolons_and_tabs_separate_where_the_header_has_no_comma(tmp_path, images, sign):
    lines = ["image,patient,Edema,note", "a.png,007,1,x", "b.png,7,-1,", "c.jpg,8,0,"]
    (tmp_path / "comma.csv").write_text("\n".join(lines))
    (tmp_path / "other.csv").write_text("\n".join(lines).replace(",", sign).replace("x", "one, two"), "utf-8-sig")
    want, got = (table_source(tmp_path / name, images, findings=["Edema"]) for name in ("comma.csv", "other.csv"))
    pd.testing.assert_frame_equal(got.manifest, want.manifest)
    assert got.manifest["patient"].tolist() == ["007", "7", "8"]


@pytest.mark.parametrize("sign", [";", "\t"])
def test_what_the_header_has_most_of_separates_though_a_name_has_a_comma(tmp_path, images, sign):
    rows = [["image", "patient", "Mass, nodule"], ["a.png", "x", "1"], ["b", "y", "0"]]
    (tmp_path / "labels.csv").write_text("\n".join(map(sign.join, rows)))
    source = table_source(tmp_path / "labels.csv", images)
    assert source.findings == ("Mass, nodule",) and source.manifest["Mass, nodule"].tolist() == [1, 0]


@pytest.mark.parametrize("name", ["left; right; both; none", "a;b;c;\nd"])
def test_what_stands_in_quotes_separates_nothing(tmp_path, images, name):
    (tmp_path / "labels.csv").write_text(f'image,patient,"{name}"\na.png,x,1\nb,y,0\n')
    assert table_source(tmp_path / "labels.csv", images).findings == (name,)


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_the_separator_of_excel_s_first_line_is_taken_and_the_line_is_counted(tmp_path, images, sign):
    rows = [["image", "patient", "Edema"], ["a.png", "x", "1"], ["b", "y", "0"], ["c", "z", "maybe"]]
    text = "\n".join([f"sep={sign}", *map(sign.join, rows)])
    (tmp_path / "labels.csv").write_text(text, "utf-8-sig")
    with pytest.raises(AttrinetError, match="labels.csv: line 5: column 'Edema' holds 'maybe'"):
        table_source(tmp_path / "labels.csv", images, findings=["Edema"])
    (tmp_path / "labels.csv").write_text(text.replace("maybe", "1"))
    assert table_source(tmp_path / "labels.csv", images).manifest["Edema"].tolist() == [1, 0, 1]


def test_boxes_with_semicolons_may_have_decimal_commas_or_points(tmp_path, images):
    (tmp_path / "boxes.csv").write_text("image;finding;x;y;w;h\na.png;Edema;1,5;2.5;3;4\n")
    found = table_source(write(tmp_path, FRAME), images, findings=["Edema"], boxes=tmp_path / "boxes.csv").annotations
    assert found[["x", "y", "w", "h"]].to_numpy().tolist() == [[1.5, 2.5, 3, 4]]


def test_a_table_that_is_not_utf_8_says_how_to_save_it(tmp_path, images):
    (tmp_path / "labels.csv").write_bytes("image,patient,Erguß\na.png,x,1\n".encode("latin-1"))
    with pytest.raises(AttrinetError, match="labels.csv: .* not UTF-8; save it as UTF-8"):
        table_source(tmp_path / "labels.csv", images)


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_spaces_around_the_names_of_columns_do_not_count(tmp_path, images, name):
    labels = write(tmp_path, {"image ": ["a.png", "b"], " patient": ["007", "7"], " Edema ": [1, 0]}, name)
    source = table_source(labels, images)
    assert source.findings == ("Edema",) and source.manifest["patient"].tolist() == ["007", "7"]
    with pytest.raises(AttrinetError, match=f"{name}: not a readable table"):
        table_source(write(tmp_path, {**FRAME, "Edema ": [1, 0, 1]}, name), images)


def test_an_image_without_any_label_is_left_out_and_counted(tmp_path, images):
    source = table_source(write(tmp_path, FRAME), images, findings=["Edema"])
    assert len(source.manifest) == 2 and source.excluded["no label"] == 1


def test_views_are_chosen_and_the_others_counted(tmp_path, images):
    labels = write(tmp_path, {**FRAME, "view": ["PA", "lateral", "AP"], "Mass": [0, 1, 1]})
    source = table_source(labels, images, view_column="view", views=["PA", "AP"])
    assert source.manifest["view"].tolist() == ["PA", "AP"] and source.excluded["other view"] == 1


def test_views_are_the_same_in_upper_and_lower_case_and_those_there_are_named(tmp_path, images):
    labels = write(tmp_path, {**FRAME, "Edema": [1, 0, 1], "view": ["PA", "Pa", None]})
    source = table_source(labels, images, view_column="view", views=["pa"])
    assert source.manifest["view"].tolist() == ["PA", "Pa"] and source.excluded["other view"] == 1
    with pytest.raises(AttrinetError, match="no row has one of the views ap, l; column 'view' holds PA, Pa$"):
        table_source(labels, images, view_column="view", views=["ap", "l"])


def test_a_split_column_is_used_as_it_is(tmp_path, images):
    labels = write(tmp_path, {**FRAME, "Edema": [1, 0, 1], "fold": ["train", "valid", "test"]})
    assert table_source(labels, images, split_column="fold").manifest["split"].tolist() == ["train", "valid", "test"]
    labels = write(tmp_path, {**FRAME, "Edema": [1, 0, 1], "fold": ["train", "dev", "test"]})
    with pytest.raises(AttrinetError, match="'fold' holds 'dev'; use train, valid, test"):
        table_source(labels, images, split_column="fold")


def test_boxes_scale_from_the_size_they_were_drawn_at(tmp_path, images):
    labels = write(tmp_path, {**FRAME, "Edema": [1, 1, 1]})
    boxes = write(tmp_path, {"image": ["a.png", "b.png"], "finding": ["Edema"] * 2, "x": [2, 512], "y": [3, 0],
                             "w": [4, 512], "h": [5, 1536], "source_width": [None, 1024],
                             "source_height": [None, 1536]}, "boxes.csv")
    found = table_source(labels, images, findings=["Edema"], boxes=boxes).annotations
    assert found[["source_width", "source_height"]].to_numpy().tolist() == [[20, 30], [1024, 1536]]


@pytest.mark.parametrize("keep_aspect", [False, True])
def test_a_box_lies_on_its_lesion_though_the_copy_was_stretched(tmp_path, keep_aspect):
    picture = np.zeros((60, 60), np.uint8)  # of an original of 400 × 200
    picture[12:24, 30:42] = 255
    (tmp_path / "png").mkdir()
    Image.fromarray(picture).save(tmp_path / "png" / "a.png")
    labels = write(tmp_path, {"image": ["a.png"], "patient": ["x"], "Edema": [1]})
    drawn = {"x": [200], "y": [40], "w": [80], "h": [40], "source_width": [400], "source_height": [200]}
    source = table_source(labels, tmp_path / "png", boxes=box(tmp_path, **drawn))
    store = prepare(source, tmp_path / "store", 60, keep_aspect=keep_aspect, intensity="none", progress=False)
    np.testing.assert_array_equal(store.mask(0, 0), store.images[0] > 0)


def test_half_a_source_size_is_an_error(tmp_path, images):
    with pytest.raises(AttrinetError, match="boxes.csv: line 2: gives only source_width; give source_width and"):
        table_source(write(tmp_path, FRAME), images, findings=["Edema"], boxes=box(tmp_path, source_width=[40]))


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
    ({"image_column": "file"}, "no column 'file'; name it with --image-column; it has image, patient, Edema, age"),
    ({"patient_column": "mrn"}, "no column 'mrn'; name it with --patient-column, or '' if there is none; it has"),
    ({"views": ["PA"]}, "--view-column"),
    ({"findings": ["age"]}, "labels.csv: line 2: column 'age' holds '50'; labels"),
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


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_spaces_around_a_name_make_no_other_patient_image_split_or_view(tmp_path, images, name):
    plain = {"image": ["a.png", "b.png", "c.jpg"], "patient": ["P1", "P1", "P2"], "Edema": [1, 0, 1],
             "view": ["PA", "PA", None], "split": ["train", "train", "test"]}
    spaced = plain | {"image": ["a.png ", " b.png", "c.jpg"], "patient": ["P1", "P1 ", "\tP2"],
                      "view": [" PA", "PA", "  "], "split": ["train ", " train", "test"]}
    options = {"findings": ["Edema"], "view_column": "view", "split_column": "split"}
    want, got = (table_source(write(tmp_path, frame, name), images, **options) for frame in (plain, spaced))
    pd.testing.assert_frame_equal(got.manifest, want.manifest)
    boxes = box(tmp_path, image=[" a.png"], finding=["Edema "])
    assert len(table_source(tmp_path / name, images, boxes=boxes, **options).annotations) == 1


def test_without_patients_the_user_is_warned(tmp_path, images):
    with pytest.warns(UserWarning, match="no patient column"):
        table_source(write(tmp_path, FRAME), images, patient_column=None)


def test_a_split_column_of_anything_is_refused_by_its_values(tmp_path, images):
    labels = write(tmp_path, {**FRAME, "split": ["train", 3.5, None]}, "labels.csv")
    with pytest.raises(AttrinetError, match="labels.csv: column 'split' holds '.*'; use train, valid, test"):
        table_source(labels, images, findings=["Edema"], split_column="split")


@pytest.mark.parametrize("column", ["patient", "split"])
@pytest.mark.parametrize("value", [None, "  ", "None"])
def test_a_missing_patient_or_split_names_the_line_of_the_table(tmp_path, images, column, value):
    frame = {"image": ["no.png", "a.png", "b.png"], "patient": ["x", "y", "z"], "split": ["train", "train", "test"],
             "Edema": [1, 0, 1]}
    labels = write(tmp_path, frame | {column: [*frame[column][:2], value]})
    with pytest.raises(AttrinetError, match=f"labels.csv: line 4: column '{column}' says nothing; .*NA, None, nan"):
        table_source(labels, images, split_column="split")


@pytest.mark.parametrize("third, message", [
    ("b,y,yes", "line 3: column 'Edema' holds 'yes'"), ("a.png,y,0", "lines 2 and 3 say different things"),
])
def test_a_line_is_named_though_rows_have_names_without_a_column(tmp_path, images, third, message):
    (tmp_path / "labels.csv").write_text(f"image,patient,Edema\nfirst,a.png,x,1\nsecond,{third}\n")
    with pytest.raises(AttrinetError, match=f"labels.csv: {message}"):
        table_source(tmp_path / "labels.csv", images, findings=["Edema"])


def test_a_line_is_named_as_an_editor_counts_it_where_reports_have_line_breaks(tmp_path, images):
    labels = write(tmp_path, {**FRAME, "image": ["a.png", "no.png", "deep/c.jpg"], "Edema": [1, 0, "maybe"],
                              "report": ["Clear.\nNo effusion.\n", "Edema", "Follow-up"]})
    assert labels.read_text().splitlines()[5].startswith("deep/c.jpg")
    with pytest.raises(AttrinetError, match="labels.csv: line 6: column 'Edema' holds 'maybe'"):
        table_source(labels, images, findings=["Edema"])
    write(tmp_path, pd.read_csv(labels).replace("maybe", "1"))
    assert table_source(labels, images, findings=["Edema"]).left_out == [("no.png", "line 5: file missing")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["", "sep=,|", "|  |"])
def test_a_line_is_named_as_an_editor_counts_it_where_lines_are_blank(tmp_path, images, end, first):
    text = first + 'image,patient,Edema,"a|report"|a.png,x,1,"one||two"|||no.png,y,0,|  |deep/c.jpg,z,maybe,||'
    (tmp_path / "labels.csv").write_bytes(text.replace("|", end).encode())
    line = text.split("maybe")[0].count("|") + 1
    with pytest.raises(AttrinetError, match=f"labels.csv: line {line}: column 'Edema' holds 'maybe'"):
        table_source(tmp_path / "labels.csv", images, findings=["Edema"])
    (tmp_path / "labels.csv").write_bytes(text.replace("maybe", "1").replace("|", end).encode())
    source = table_source(tmp_path / "labels.csv", images, findings=["Edema"])
    assert source.left_out == [("no.png", f"line {line - 2}: file missing")] and len(source.manifest) == 2


@pytest.mark.parametrize("index", [["image"], ["patient", "image"]])
def test_the_named_index_of_a_parquet_table_is_a_column(tmp_path, images, index):
    pd.DataFrame(FRAME).drop(columns="age").set_index(index).to_parquet(tmp_path / "labels.parquet")
    source = table_source(tmp_path / "labels.parquet", images)
    assert source.manifest["id"].tolist() == ["a", "b"] and source.findings == ("Edema",)
    pd.DataFrame(FRAME).set_index("image", drop=False).to_parquet(tmp_path / "labels.parquet")
    assert table_source(tmp_path / "labels.parquet", images).manifest["id"].tolist() == ["a", "b"]


def test_lists_in_a_parquet_table_are_no_labels(tmp_path, images):
    labels = write(tmp_path, {**FRAME, "boxes": [[1, 2], [], None]}, "labels.parquet")
    with pytest.warns(UserWarning, match=r"not taken as findings: boxes \(line 2 holds '\[1 2\]'\)"):
        assert table_source(labels, images).findings == ("Edema",)


def test_columns_that_are_not_taken_as_findings_are_named_once_with_what_they_hold(tmp_path, images):
    labels = write(tmp_path, {**FRAME, "note": ["one", "two", "three"], "Edema": [1, 0, 1], "Mass": ["1", "yes", "0"],
                              "Effusion": ["yes", "no", "no"], "Hernia": None, "Sex": ["f", "m", "1"]})
    with pytest.warns(UserWarning) as warned:
        assert table_source(labels, images).findings == ("Edema",)
    assert [str(warning.message).split("labels.csv: ")[1] for warning in warned] == [
        "not taken as findings: Effusion (line 2 holds 'yes'), note (line 2 holds 'one'), Mass (line 3 holds 'yes'), "
        "Hernia (blank); a finding's cells are 1, 0, -1 or blank"]


def test_of_many_columns_that_are_no_findings_six_are_named(tmp_path, images):
    labels = write(tmp_path, {**FRAME, **{f"C{k}": ["yes", "no", "no"] for k in range(8)}})
    with pytest.warns(UserWarning, match=r"C5 \(line 2 holds 'yes'\) and 2 more; a finding's"):
        table_source(labels, images)


def test_a_table_without_labels_says_what_its_columns_hold(tmp_path, images):
    labels = write(tmp_path, {**FRAME, "Edema": ["positive", "negative", None]})
    with pytest.raises(AttrinetError, match=r"no column of labels; not taken as .*: Edema \(line 2 .*'positive'\)"):
        table_source(labels, images)


def test_an_empty_image_column_is_no_column(tmp_path, images):
    with pytest.raises(AttrinetError, match="no column ''"):
        table_source(write(tmp_path, FRAME), images, image_column="")


def test_a_parquet_table_whose_text_is_no_text_is_named(tmp_path, images):
    path = write(tmp_path, {**FRAME, "image": ["a.png", "QQQQ.png", "c.jpg"]}, "labels.parquet")
    path.write_bytes(path.read_bytes().replace(b"QQQQ", b"\xff\xfe\x80\x80"))
    with pytest.raises(AttrinetError, match="labels.parquet: not a readable table"):
        table_source(path, images, findings=["Edema"])


# ---- which file a row means: never that of another patient


def pictures(folder, *names):
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), k, np.uint8)).save(folder / name, format="png")
    return folder


def labelled(tmp_path, names, **more):
    count = range(len(names))
    frame = {"image": names, "patient": [f"p{k}" for k in count], "Edema": [k % 2 for k in count]}
    return write(tmp_path, frame | more)


def found(source, folder):
    return [source.manifest["source"][k][len(str(folder)) + 1 :] for k in range(len(source.manifest))]


SAME = [f"p{k:03d}/frontal.png" for k in range(6)]


def test_folders_may_be_separated_as_on_windows(tmp_path):
    folder = pictures(tmp_path / "png", "x.png", "deep/y.png")
    labels = labelled(tmp_path, ["C:\\data\\xray\\x.png", "deep\\y.png"])
    boxes = box(tmp_path, image=["C:\\data\\xray\\x.png"])
    source = table_source(labels, folder, boxes=boxes)
    assert found(source, folder) == ["x.png", "deep/y.png"] and source.manifest["id"].tolist() == ["x", "y"]
    assert source.annotations["id"].tolist() == ["x"]


@pytest.mark.parametrize("prefix", ["", "png/", "/data/png/"])
def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path, prefix):
    folder = pictures(tmp_path / "png", *SAME)
    source = table_source(labelled(tmp_path, [prefix + name for name in SAME]), folder)
    assert found(source, folder) == SAME and source.manifest["id"].is_unique


def test_a_missing_file_is_missing_though_others_have_its_name(tmp_path):
    folder = pictures(tmp_path / "png", *SAME)
    source = table_source(labelled(tmp_path, [*SAME, "p900/frontal.png", "p901/frontal.png"]), folder)
    assert found(source, folder) == SAME and source.excluded["file missing"] == 2


def test_every_row_that_is_left_out_is_told_with_its_line_and_reason(tmp_path):
    folder = pictures(tmp_path / "png", "a.png", "x/b.png", "y/b.png", "d.png", "e.png")
    names, views = ["a.png", None, "b.png", "c.png", "d.png", "e.png", "a.png"], ["PA"] * 4 + ["AP", "PA", "PA"]
    labels = write(tmp_path, {"image": names, "patient": "1", "view": views, "Edema": [1, 1, 1, 1, 1, None, 1]})
    source = table_source(labels, folder, view_column="view", views=["PA"])
    assert source.left_out == [
        ("", "line 3: no image name"), ("b.png", "line 4: several files of that name"),
        ("c.png", "line 5: file missing"), ("d.png", "line 6: other view"), ("e.png", "line 7: no label"),
        ("a.png", "line 8: duplicate row")]


def test_many_missing_files_are_named_aloud_with_one_that_has_another_ending(tmp_path):
    folder = pictures(tmp_path / "png", "a.png", "deep/3.png")
    labels = labelled(tmp_path, ["a.png", "1.jpg", "deep/3.jpg", "4", "5.jpg"])
    with pytest.warns(UserWarning, match=r"4 of 5 files are missing in .*png: 1.jpg, deep/3.jpg, 4, …; 3.png is there, "
                                         r"the table says .jpg$"):
        table_source(labels, folder)
    with pytest.raises(AttrinetError, match=r"no image is left \(1 file missing\): 3.tif; 3.png is there, the .* .tif"):
        table_source(labelled(tmp_path, ["3.tif"]), folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = labelled(tmp_path, ["a", "3", "4", "5", "..png"])
        assert table_source(labels, pictures(folder, "4.png", "5.png")).excluded["file missing"] == 1


def test_a_name_that_several_files_have_means_none_of_them(tmp_path):
    folder = pictures(tmp_path / "png", *SAME, "lone.png", "frontal.tif/other.png")
    source = table_source(labelled(tmp_path, ["frontal.png", "lone", "frontal"]), folder)
    assert found(source, folder) == ["lone.png"] and source.excluded["several files of that name"] == 2


def test_files_beside_an_image_are_not_taken_for_it(tmp_path):
    folder = pictures(tmp_path / "png", "s0.png", "s1.png", "deep/s2.dcm")
    for name in ("s0.txt", "s1.json", "deep/s2.xml"):
        (folder / name).write_text("notes")
    source = table_source(labelled(tmp_path, ["s0", "s1", "s2"]), folder)
    assert found(source, folder) == ["s0.png", "s1.png", "deep/s2.dcm"]


def test_what_lies_in_another_folder_is_another_image_though_nothing_else_is_called_so(tmp_path):
    folder = pictures(tmp_path / "png", "p2/view1.png", "c.png")
    source = table_source(labelled(tmp_path, ["p1/view1.png", "old/c.png"]), folder)
    assert found(source, folder) == ["c.png"] and source.excluded["file missing"] == 1


def test_two_rows_that_lead_to_one_file_are_an_error(tmp_path):
    folder = pictures(tmp_path / "png", "a.png", "b.png")
    with pytest.raises(AttrinetError, match="labels.csv: 'a.png' and 'a' .* lead to one file, .*a.png; name each"):
        table_source(labelled(tmp_path, ["b.png", "a.png", "a"]), folder)


def apart(name):
    """Letters and their accents as macOS keeps them."""
    return unicodedata.normalize("NFD", name)


@pytest.mark.parametrize("on_disk, in_tables", [(apart, str), (str, apart)])
@pytest.mark.parametrize("below", ["", "Müller/"])
def test_an_accent_may_be_a_character_of_its_own_on_the_disk_or_in_the_tables(tmp_path, on_disk, in_tables, below):
    names = [f"{below}Jürg_{k}.png" for k in range(4)]
    folder = pictures(tmp_path / "png", *map(on_disk, names))
    frame = {"image": [*names[:3], names[3][:-4]], "Fälle": ["ä", "ä", "b", "c"], "Œdème aigu": [1, 1, 0, -1]}
    frame = pd.DataFrame(frame).assign(Sicht=["é", "É", "é", "é"])
    for column in ("image", "Sicht"):
        frame[column] = frame[column].map(in_tables)
    frame["Fälle"] = ["ä", apart("ä"), "b", "c"]
    labels = write(tmp_path, frame.rename(columns=in_tables))
    box = {"image": in_tables(names[0]), "finding": in_tables("Œdème aigu"), "x": 1, "y": 1, "w": 2, "h": 2}
    boxes = write(tmp_path, [box], "boxes.csv")
    masks = pictures(tmp_path / "masks", "zero.png", on_disk(f"{below}Jürg_1_Œdème_aigu.png"))
    for given in (str, apart):
        source = table_source(labels, folder, patient_column=given("Fälle"), findings=[given("Œdème aigu")],
                              view_column="Sicht", views=[given("É")], uncertain={given("Œdème aigu"): "ones"},
                              boxes=boxes, masks=masks)
        assert source.findings == ("Œdème aigu",) and source.manifest["Œdème aigu"].tolist() == [1, 1, 0, 1]
        assert found(source, folder) == [*map(on_disk, names)] and source.manifest["patient"].nunique() == 3
        assert source.annotations["id"].tolist() == ["Jürg_0", "Jürg_1"]
        assert renamed(source, {given("Œdème aigu"): "Edema"}).findings == ("Edema",)


def test_of_files_that_only_differ_in_how_an_accent_is_kept_none_is_meant(tmp_path):
    folder = pictures(tmp_path / "png", "Jürg.png", apart("Jürg.png"), "b.png")
    if len(list(folder.iterdir())) < 3:
        pytest.skip("a disk on which the two are one file")
    source = table_source(labelled(tmp_path, ["Jürg.png", "b.png"]), folder)
    assert found(source, folder) == ["b.png"] and source.excluded["several files of that name"] == 1


def test_leading_zeros_belong_to_a_name(tmp_path):
    folder = pictures(tmp_path / "png", "00001.png", "00002.png", "1.png")
    labels = labelled(tmp_path, ["00001", "00002", "1"], patient=["01", "1", "2"])
    boxes = write(tmp_path, {"image": ["00001", "00002"], "finding": ["Edema"] * 2, "x": [0, 1], "y": [0, 1],
                             "w": [2, 2], "h": [2, 2]}, "boxes.csv")
    source = table_source(labels, folder, boxes=boxes)
    assert found(source, folder) == ["00001.png", "00002.png", "1.png"]
    assert source.manifest["patient"].tolist() == ["01", "1", "2"]
    assert source.annotations["id"].tolist() == ["00001", "00002"]


def test_the_last_part_of_a_uid_is_no_suffix(tmp_path):
    names = ["1.2.840.113.1.1", "1.2.840.113.1.2"]
    folder = pictures(tmp_path / "dicom", *names)
    masks = pictures(tmp_path / "masks", "zero.png", *[f"{name}_Edema.png" for name in names])
    source = table_source(labelled(tmp_path, names), folder, masks=masks)
    assert source.manifest["id"].tolist() == names and source.annotations["id"].tolist() == names
    source = table_source(labelled(tmp_path, [names[0], "1.2.840.113.1"]), folder)  # no file is called so
    assert source.manifest["id"].tolist() == names[:1] and source.excluded["file missing"] == 1


def box(tmp_path, **changes):
    return write(tmp_path, {"image": ["a.png"], "finding": ["Edema"], "x": [1], "y": [1], "w": [2], "h": [3]} | changes,
                 "boxes.csv")


@pytest.mark.parametrize("changes,message", [
    ({"finding": ["edema"]}, "no box is of an image and a finding .* 'a.png' and 'edema'"),
    ({"image": ["z.png"]}, "no box is of an image and a finding .* 'z.png'"),
    ({"x": [500]}, "line 2: the box lies outside its image of 20×30 pixels; .* source_width"),
    ({"y": [-9]}, "line 2: the box lies outside"),
])
def test_boxes_that_say_nothing_are_not_passed_over(tmp_path, images, changes, message):
    with pytest.raises(AttrinetError, match=message):
        table_source(write(tmp_path, FRAME), images, findings=["Edema"], boxes=box(tmp_path, **changes))


def test_a_box_of_a_name_that_several_images_have_is_an_error(tmp_path):
    folder = pictures(tmp_path / "png", *SAME)
    labels = labelled(tmp_path, SAME)
    source = table_source(labels, folder, boxes=box(tmp_path, image=["p003/frontal.png"], w=[1]))
    assert source.annotations["id"].tolist() == ["p003/frontal.png"]
    with pytest.raises(AttrinetError, match="line 2: several images are called 'frontal.png'"):
        table_source(labels, folder, boxes=box(tmp_path, image=["frontal.png"]))


VIEWS = {"image": ["p1/view1.png", "p2/view1.png"], "patient": ["1", "2"], "Edema": [1, 1], "view": ["PA", "LAT"]}


@pytest.mark.parametrize("kept", [["PA"], ["PA", "LAT"]])
def test_the_lesion_of_an_image_that_is_left_out_is_nobody_else_s(tmp_path, kept):
    folder = pictures(tmp_path / "png", *VIEWS["image"])
    labels = write(tmp_path, VIEWS)
    options = {"view_column": "view", "views": kept}
    boxes = box(tmp_path, image=["p2/view1.png", "p1/view1.png"], x=[0, 1], y=0, w=1, h=1, finding="Edema")
    found = table_source(labels, folder, boxes=boxes, **options).annotations
    where = ["view1"] if kept == ["PA"] else ["p2/view1.png", "p1/view1.png"]
    assert found["id"].tolist() == where and found["x"].tolist() == ([1] if kept == ["PA"] else [0, 1])
    masks = pictures(tmp_path / "masks", "zero.png", "p2/view1_Edema.png", "p1/view1_Edema.png")
    found = table_source(labels, folder, masks=masks, **options).annotations
    assert found["id"].tolist() == sorted(where)
    (masks / "p1/view1_Edema.png").unlink()
    if kept == ["PA"]:
        with pytest.raises(AttrinetError, match="no mask .* was found there"):
            table_source(labels, folder, masks=masks, **options)


def test_a_mask_that_could_be_of_several_images_is_an_error(tmp_path):
    folder = pictures(tmp_path / "png", *VIEWS["image"])
    masks = pictures(tmp_path / "masks", "zero.png", "view1_Edema.png")
    with pytest.raises(AttrinetError, match="view1_Edema.png: several images are called so"):
        table_source(write(tmp_path, VIEWS), folder, findings=["Edema"], masks=masks)
    alone = labelled(tmp_path, ["p1/view1.png"])
    assert table_source(alone, folder, masks=masks).annotations["id"].tolist() == ["view1"]
    masks = pictures(tmp_path / "twice", "zero.png", "a/view1_Edema.png", "b/view1_Edema.png")
    flat = pictures(tmp_path / "flat", "view1.png")
    with pytest.raises(AttrinetError, match="a/view1_Edema.png and b/view1_Edema.png are masks of the same image"):
        table_source(labelled(tmp_path, ["view1.png"]), flat, masks=masks)


@pytest.mark.parametrize("end", ["Pleural Effusion", "Pleural_Effusion"])
@pytest.mark.parametrize("kept", [["PA"], ["PA", "LAT"]])
def test_a_mask_that_could_be_of_two_images_is_an_error_until_its_name_has_the_suffix_of_one(tmp_path, end, kept):
    folder = pictures(tmp_path / "png", "x.png", "x_Pleural.png")
    masks = pictures(tmp_path / "masks", "zero.png", "x_Pleural_Effusion.png")
    frame = {"image": ["x.png", "x_Pleural.png"], "patient": ["1", "2"], "view": ["PA", "LAT"], "Effusion": [1, 1],
             end: [1, 1]}
    read = partial(table_source, write(tmp_path, frame), folder, masks=masks, view_column="view", views=kept)
    with pytest.raises(AttrinetError, match=f"x_Pleural_Effusion.png: could be a mask of 'Effusion' in 'x_Pleural.png' "
                                            f"and of '{end}' in 'x.png'; call it"):
        read()
    (masks / "x_Pleural_Effusion.png").rename(masks / "x.png_Pleural_Effusion.png")
    assert read().annotations[["id", "finding"]].to_numpy().tolist() == [["x", end]]
    (masks / "x.png_Pleural_Effusion.png").rename(masks / "x_Pleural.png_Effusion.png")
    if len(kept) == 2:
        assert read().annotations[["id", "finding"]].to_numpy().tolist() == [["x_Pleural", "Effusion"]]


def test_of_findings_that_end_alike_the_longer_one_is_meant_where_only_that_has_an_image(tmp_path):
    folder = pictures(tmp_path / "png", "x.png", "y.png")
    masks = pictures(tmp_path / "masks", "zero.png", "x_Pleural_Effusion.png")
    labels = write(tmp_path, {"image": ["x.png", "y.png"], "patient": ["1", "2"], "Effusion": [1, 1],
                              "Pleural Effusion": [1, 1]})
    found = table_source(labels, folder, masks=masks).annotations
    assert found[["id", "finding"]].to_numpy().tolist() == [["x", "Pleural Effusion"]]


def test_a_mask_of_another_shape_than_its_image_is_refused(tmp_path, images):
    for shape, fits in (((60, 40), True), ((15, 10), True), ((31, 20), True), ((30, 30), False), ((20, 30), False)):
        masks = tmp_path / f"masks{shape}"
        masks.mkdir()
        Image.fromarray(np.full(shape, 255, np.uint8)).save(masks / "a_Edema.png")
        make = partial(table_source, write(tmp_path, FRAME), images, findings=["Edema"], masks=masks)
        if fits:
            assert len(make().annotations) == 1
        else:
            with pytest.raises(AttrinetError, match="a_Edema.png: has .* another shape than its image, .*of 20×30"):
                make()


def drawn(folder, *names):
    """Masks of whole images, of the shape of `images`."""
    folder.mkdir()
    for name in names:
        Image.fromarray(np.full((30, 20), 255, np.uint8)).save(folder / name)
    return folder


def test_boxes_and_masks_that_are_not_used_are_counted_aloud(tmp_path, images):
    labels = write(tmp_path, FRAME)
    box = {"image": ["a", "a", "nosuch"], "finding": ["Edema", "edema", "Edema"], "x": 1, "y": 1, "w": 3, "h": 3}
    with pytest.warns(UserWarning, match="boxes.csv: 2 of 3 boxes .* the first in line 3, of 'a' and 'edema'"):
        found = table_source(labels, images, findings=["Edema"], boxes=write(tmp_path, box, "boxes.csv"))
    assert len(found.annotations) == 1
    masks = drawn(tmp_path / "masks", "a_Edema.png", "a_Odema.png")
    with pytest.warns(UserWarning, match="masks: 1 files are no masks .* the first is a_Odema.png"):
        table_source(labels, images, findings=["Edema"], masks=masks)


def test_a_finding_that_no_file_can_be_called_has_masks_with_underscores(tmp_path, images):
    labels = write(tmp_path, {"image": ["a", "b"], "patient": ["x", "y"], "Edema/Fluid (new)": [1, 0]})
    masks = drawn(tmp_path / "masks", "a_Edema_Fluid__new_.png")
    assert table_source(labels, images, masks=masks).annotations["finding"].tolist() == ["Edema/Fluid (new)"]
    (masks / "a_Edema_Fluid__new_.png").rename(masks / "a_Fluid.png")
    with pytest.raises(AttrinetError, match="for instance a_Edema_Fluid__new_.png; its first file is a_Fluid.png"):
        table_source(labels, images, masks=masks)


@pytest.mark.parametrize("name", ["Effusion (left _ right)", "Effusion_(left___right)", "Effusion (left___right)",
                                  "Effusion__left___right_"])
def test_underscores_may_stand_for_some_of_what_a_file_cannot_be_called(tmp_path, images, name):
    labels = write(tmp_path, {"image": ["a", "b"], "patient": ["x", "y"], "Effusion (left / right)": [1, 0]})
    masks = drawn(tmp_path / "masks", f"a_{name}.png", "b_Effusion-(left_-_right).png")
    with pytest.warns(UserWarning, match="masks: 1 files are no masks .* the first is b_Effusion-"):
        found = table_source(labels, images, masks=masks).annotations
    assert found["id"].tolist() == ["a"]


def test_a_mask_that_could_be_of_two_findings_is_an_error(tmp_path, images):
    labels = write(tmp_path, {"image": ["a", "b"], "patient": ["x", "y"], "Mass/left": [1, 0], "Mass left": [1, 0]})
    masks = drawn(tmp_path / "masks", "a_Mass left.png")
    assert table_source(labels, images, masks=masks).annotations["finding"].tolist() == ["Mass left"]
    (masks / "a_Mass left.png").rename(masks / "a_Mass_left.png")
    with pytest.raises(AttrinetError, match="a_Mass_left.png: could be a mask of 'Mass.left' in 'a' and of 'Mass"):
        table_source(labels, images, masks=masks)


def test_rows_of_one_image_that_contradict_each_other_are_an_error(tmp_path, images):
    same = {"image": ["a.png", "a.png", "b.png"], "patient": ["x", "x", "y"], "Edema": [1, 1, 0]}
    assert table_source(write(tmp_path, same), images).excluded["duplicate row"] == 1
    with pytest.raises(AttrinetError, match="labels.csv: lines 2 and 3 say different things of the image 'a.png'"):
        table_source(write(tmp_path, same | {"Edema": [1, 0, 0]}), images)
    with pytest.raises(AttrinetError, match="say different things"):
        table_source(write(tmp_path, same | {"patient": ["x", "z", "y"]}), images)


def test_a_policy_for_an_unknown_finding_is_an_error(tmp_path, images):
    with pytest.raises(AttrinetError, match="labels.csv: uncertain: 'Edmea' is unknown; did you mean 'Edema'"):
        table_source(write(tmp_path, FRAME), images, findings=["Edema"], uncertain={"Edmea": "ones"})


def test_split_fractions_are_numbers_that_add_up_to_one(tmp_path, images):
    for wrong in (float("nan"), float("inf"), 0.6):
        with pytest.raises(AttrinetError, match="fractions 0.5, .* add up to 1"):
            table_source(write(tmp_path, FRAME), images, findings=["Edema"], fractions={"train": 0.5, "test": wrong})


@pytest.mark.parametrize("header", ["image,patient,Edema,Edema", "image,patient,Edema, Edema ",
                                    "image;patient;Edema;Edema"])
def test_two_columns_of_one_name_are_refused(tmp_path, images, header):
    sign = ";" if ";" in header else ","
    (tmp_path / "labels.csv").write_text(f"{header}\n" + "\n".join(
        sign.join(row) for row in (("a.png", "x", "1", "0"), ("b", "y", "0", "1"))))
    with pytest.raises(AttrinetError, match="labels.csv: .*two columns are called 'Edema'"):
        table_source(tmp_path / "labels.csv", images)


def test_age_and_sex_are_no_findings_unless_they_are_named(tmp_path, images):
    labels = write(tmp_path, FRAME | {"Sex": [0, 1, 1], "age": [1, 0, 1]})
    assert table_source(labels, images).findings == ("Edema",)
    assert table_source(labels, images, findings=["Sex"]).findings == ("Sex",)


def test_a_box_on_an_image_without_the_finding_is_said(tmp_path, images):
    box = {"x": 1, "y": 1, "w": 2, "h": 2, "finding": "Edema"}
    boxes = write(tmp_path, [box | {"image": name} for name in ("a.png", "b", "c.jpg")], "boxes.csv")
    with pytest.warns(UserWarning, match=r"1 of 3 boxes are on images labelled as without .* in line 3, of 'b' and "):
        source = table_source(write(tmp_path, FRAME), images, boxes=boxes)
    assert source.findings == ("Edema",) and source.annotations["id"].tolist() == ["a", "b"]
