from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import png
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.reading import read_image, to_gray
from monai_advenc.data.images.writing import encode_image, encode_mask
from monai_advenc.errors import DatasetError, ImageError
from monai_advenc.files.names import distinct_ids


def gray_png(path: Path, value: int = 7, size: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size), value, np.uint8)).save(path)


def test_class_folders_are_found_sorted_whatever_lies_about(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.PNG", "a/ü 1.png", "a/.hidden.png", ".git/x.png"):
        gray_png(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "ü 1.mask.png").write_bytes(encode_mask(np.ones((16, 16), bool)))
    folder = find_images(tmp_path)
    assert [(folder.classes[file.label], file.id) for file in folder.files] == [("a", "ü 1"), ("b", "10"), ("b", "2")]
    assert folder.files[0].mask_path == tmp_path / "a" / "ü 1.mask.png"
    assert folder.class_counts() == {"a": 1, "b": 2}


def test_a_flat_folder_with_a_table(tmp_path: Path) -> None:
    gray_png(tmp_path / "x.png")
    gray_png(tmp_path / "sub" / "y.png")
    (tmp_path / "labels.csv").write_text("file,label\nx.png,two\nsub/y.png,one\n")
    folder = find_images(tmp_path)
    assert [(folder.classes[file.label], file.id) for file in folder.files] == [("one", "y"), ("two", "x")]
    (tmp_path / "labels.csv").write_text("file,label\nz.png,two\n")
    with pytest.raises(DatasetError, match=r"names 'z\.png'"):
        find_images(tmp_path)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no images"):
        find_images(tmp_path)
    gray_png(tmp_path / "a/1.png")
    gray_png(tmp_path / "a/1.tif")
    gray_png(tmp_path / "b/2.png")
    with pytest.raises(DatasetError, match=r"two images with one id '1'.*a/1.png and .*a/1.tif"):
        find_images(tmp_path)
    (tmp_path / "a/1.tif").unlink()
    with pytest.raises(DatasetError, match="unknown class 'b'"):
        find_images(tmp_path, ("a", "c"))
    with pytest.raises(DatasetError, match="is no folder"):
        find_images(tmp_path / "nowhere")


def test_images_of_one_name_in_two_classes_carry_the_class_and_all_others_keep_their_names(tmp_path: Path) -> None:
    for name in ("normal/0000.png", "normal/0001.png", "pneumonia/0000.png", "pneumonia/A.png", "virus/a.png"):
        gray_png(tmp_path / name)
    (tmp_path / "pneumonia" / "0000.mask.png").write_bytes(encode_mask(np.ones((16, 16), bool)))
    files = find_images(tmp_path).files
    ids = ["normal-0000", "0001", "pneumonia-0000", "pneumonia-A", "virus-a"]
    assert [file.id for file in files] == ids
    assert [file.path.name for file in files] == ["0000.png", "0001.png", "0000.png", "A.png", "a.png"]
    assert [file.mask_path is not None for file in files] == [False, False, True, False, False]
    (tmp_path / "patients.csv").write_text("image,patient\n" + "".join(f"{name},P{name[0]}\n" for name in ids))
    assert [file.patient for file in find_images(tmp_path).files] == ["Pn", "P0", "Pp", "Pp", "Pv"]
    (tmp_path / "patients.csv").write_text("image,patient\n0000,1\n0001,1\n")
    with pytest.raises(DatasetError, match="image 'normal-0000' has no row in"):
        find_images(tmp_path)


def test_a_table_may_name_images_of_one_name_in_two_classes(tmp_path: Path) -> None:
    for name in ("x/0.png", "y/0.png", "z/0.png"):
        gray_png(tmp_path / name)
    (tmp_path / "labels.csv").write_text("file,label\nx/0.png,one\ny/0.png,two\n")
    assert [file.id for file in find_images(tmp_path).files] == ["one-0", "two-0"]
    (tmp_path / "labels.csv").write_text("file,label\nx/0.png,one\ny/0.png,two\nz/0.png,two\n")
    assert [file.id for file in find_images(tmp_path).files] == ["x-0", "y-0", "z-0"]


NAMES = st.text("xyZ-1", min_size=1, max_size=3)


@settings(max_examples=50, deadline=None)
@given(st.sets(st.tuples(st.sampled_from("abc"), NAMES)))
def test_ids_are_names_unless_another_class_has_the_name(named: set[tuple[str, str]]) -> None:
    # Names of one class that differ in capitals only stay alike, and are refused.
    named = {each for each in named if (each[0], each[1].lower()) not in named - {each}}
    listed = [(label, name, Path("/data", label)) for label, name in sorted(named)]
    ids = dict(zip(sorted(named), distinct_ids(listed, Path("/data")), strict=True))
    for (label, name), given_id in ids.items():
        is_shared = any(other != label and text.lower() == name.lower() for other, text in named)
        assert given_id == (f"{label}-{name}" if is_shared else name)


FILES = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["p1", "p2", "p3"]), st.sampled_from("st"), st.sampled_from("01")),
    unique=True,
)


@settings(max_examples=50, deadline=None)
@given(FILES)
def test_ids_of_equal_names_begin_with_the_folders_that_separate_them(files: list[tuple[str, str, str, str]]) -> None:
    root = Path("/home/jane")
    ids = distinct_ids([(label, name, Path(root, label, *folders)) for label, *folders, name in files], root)
    assert len(set(ids)) == len(files)
    for given_id, (label, patient, study, name) in zip(ids, files, strict=True):
        same = [each for each in files if each[3] == name]
        if len(same) == 1:
            expected = name
        elif len({each[0] for each in same}) == len(same):
            expected = f"{label}-{name}"
        elif len({each[2] for each in same}) == len(same):
            expected = f"{study}-{name}"
        elif len({each[1:] for each in same}) == len(same):
            expected = f"{patient}-{study}-{name}"
        else:
            expected = f"{label}-{patient}-{study}-{name}"
        assert given_id == expected


@settings(max_examples=50, deadline=None)
@given(st.sets(st.tuples(st.sampled_from("ab"), st.lists(st.sampled_from("abp"), max_size=3).map(tuple))))
def test_ids_of_equal_names_at_any_depth_begin_at_the_class_or_below(
    folders: set[tuple[str, tuple[str, ...]]],
) -> None:
    root, listed = Path("/home/jane/mri"), sorted(folders)
    ids = distinct_ids([(label, "0", Path(root, label, *within)) for label, within in listed], root)
    # Without links between folders ("ab-a" next to "a/b-a") the whole path below the root separates all.
    for given_id, (label, within) in zip(ids, listed, strict=True):
        path = ("", label, *within, "0")
        assert any(given_id == "-".join(path[start:]) for start in range(1, len(path))) or given_id == f"{label}-0"
    assert len(set(ids)) == len(ids)


def test_an_image_elsewhere_that_a_table_names_has_no_folder_that_the_data_set_lies_in(tmp_path: Path) -> None:
    for name in ("set/x/0.png", "more/x/0.png", "more/0.png"):
        gray_png(tmp_path / name)
    table = "file,label\nx/0.png,a\n../more/x/0.png,a\n../more/0.png,b\n"
    (tmp_path / "set" / "labels.csv").write_text(table)
    assert [file.id for file in find_images(tmp_path / "set").files] == ["more-x-0", "x-0", "more-0"]


def test_a_link_to_the_data_set_brings_no_folder_above_it_into_ids(tmp_path: Path) -> None:
    root = tmp_path / "Meyer_Anna" / "set"
    for name in ("0.png", "q/0.png", "../more/0.png"):
        gray_png(root / name)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").symlink_to(root)
    (root / "linked").symlink_to(root / ".." / "more")
    table = f"file,label\n{root}/0.png,a\n{root}/q/0.png,a\n{root.parent}/more/0.png,a\nlinked/0.png,a\n"
    (root / "labels.csv").write_text(table)
    for place in (root, tmp_path / "elsewhere" / "mine"):
        assert sorted(file.id for file in find_images(place).files) == ["0", "linked-0", "more-0", "q-0"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
@pytest.mark.parametrize("is_absolute", [True, False])
def test_a_number_tells_folders_of_one_name_in_and_outside_of_the_data_set_apart(
    tmp_path: Path, order: tuple[int, ...], is_absolute: bool
) -> None:
    root = tmp_path / "Meyer_Anna" / "set"
    outside = root.parent / "x" / "0.png" if is_absolute else Path("../x/0.png")
    rows = [("x/0.png", "x-0"), (outside, "x-2-0"), ("y/0.png", "y-0")]
    for name, _ in rows:
        gray_png(root / name)
    (root / "labels.csv").write_text("file,label\n" + "".join(f"{rows[each][0]},a\n" for each in order))
    found = {file.path.resolve(): file.id for file in find_images(root).files}
    assert found == {(root / name).resolve(): expected for name, expected in rows}
    (root / "labels.csv").write_text("file,label\nx/0.png,a\n../x/0.png,a\nx/../../x/0.png,a\n")
    with pytest.raises(DatasetError, match=r"two images with one id '0'"):
        find_images(root)


def test_folders_of_patients_whose_names_differ_in_capitals_are_of_one(tmp_path: Path) -> None:
    for name in ("a/P1/0.png", "a/P2/1.png", "b/p1/2.png", "b/P3/3.png"):
        gray_png(tmp_path / name)
    assert {file.id: file.patient for file in find_images(tmp_path).files} == {
        "0": "P1",
        "1": "P2",
        "2": "P1",
        "3": "P3",
    }


def test_folders_within_those_of_classes_are_patients(tmp_path: Path) -> None:
    for name in ("a/P1/0.png", "a/P1/old/0.png", "a/P2/1.png", "b/P3/0.png", "b/@eaDir/9.png", "b/P3/.hidden.png"):
        gray_png(tmp_path / name)
    (tmp_path / "a" / "P1" / "0.mask.png").write_bytes(encode_mask(np.ones((16, 16), bool)))
    for name in ("a/P1/notes.txt", "b/P3/volume.nii.gz"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c").mkdir()
    folder = find_images(tmp_path)
    found = [(file.path.relative_to(tmp_path).as_posix(), file.id, file.patient) for file in folder.files]
    assert found == [
        ("a/P1/0.png", "P1-0", "P1"),
        ("a/P1/old/0.png", "old-0", "P1"),
        ("a/P2/1.png", "1", "P2"),
        ("b/P3/0.png", "P3-0", "P3"),
    ]
    assert [file.id for file in folder.files if file.mask_path is not None] == ["P1-0"]
    assert [path.name for path in folder.passed_over] == ["c", "notes.txt", "volume.nii.gz"]
    (note,) = folder.notes
    assert "(P1, P2, P3) are taken as patients; images in them have equal names, so ids" in note
    (tmp_path / "patients.csv").write_text("image,patient\nP1-0,1\nold-0,2\n1,1\nP3-0,3\n")
    assert [file.patient for file in find_images(tmp_path).files] == ["1", "2", "1", "3"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/a/1.png", "train/b/2.png", "train/c/4.png", "val/a/3.png"], "one folder deeper, in train, val"),
        (["fold1/a/1.png", "fold1/b/2.png", "fold2/a/3.png", "fold2/b/4.png"], "one folder deeper, in fold1, fold2"),
        (["P1/a/1.png", "P2/a/1.png", "P3/b/1.png"], "one folder deeper, in P1, P2, P3: .*labels.csv"),
        (["all/a/1.png", "all/b/2.png"], "one folder deeper, in all"),
        (
            ["train/a/1.png", "train/b/2.png", "train/c/3.png", "external/b/4.png"],
            "one folder deeper, in external, train",
        ),
        (["site1/a/1.png", "site1/b/2.png", "site1/c/3.png", "site2/b/4.png", "site2/c/5.png"], "in site1, site2"),
        ([f"{part}/c{k}/{k}.png" for part in ("train", "test_set") for k in range(12)], "in test_set, train"),
        (["a/images/1.png", "a/masks/1.png", "b/images/2.png"], r"a/masks/1\.png looks like a mask by its name"),
        (["a/P1/1.png", "a/P1/1_seg.png", "b/P2/1.png"], r"1_seg\.png looks like a mask .* as x\.mask\.png"),
        (["a/1.png", "a/old/2.png", "b/3.png"], "a/old holds images in a folder within a class"),
        (["a/P1/image.nii.gz", "b/P2/image.nii.gz"], "only volumes or DICOM lie .*monai-advenc slice"),
    ],
)
def test_folders_within_folders_that_may_be_something_else_are_refused(
    tmp_path: Path, names: list[str], message: str
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DatasetError, match=message):
        find_images(tmp_path)


def test_folders_that_may_be_classes_or_patients_are_named_as_written_and_a_table_of_patients_decides(
    tmp_path: Path,
) -> None:
    for name in ("Glioma/Pat_A/1.png", "Glioma/Pat_B/2.png", "Metastasis/Pat_A/3.png", "Metastasis/PAT_b/4.png"):
        gray_png(tmp_path / name)
    told = r"deeper, in Glioma, Metastasis: give .* and Pat_A, Pat_B patients: add .*patients\.csv \(image,patient\)"
    with pytest.raises(DatasetError, match=told) as refused:
        find_images(tmp_path)
    assert "no images" not in str(refused.value)
    (tmp_path / "patients.csv").write_text("image,patient\n1,A\n2,B\n3,A\n4,B\n")
    folder = find_images(tmp_path)
    assert (folder.classes, [file.patient for file in folder.files]) == (("Glioma", "Metastasis"), ["A", "B", "A", "B"])


def test_classes_whose_names_only_begin_like_a_part_of_a_data_set_are_classes(tmp_path: Path) -> None:
    for name in ("testicular/P1/0.png", "testicular/P2/0.png", "valvular/P3/0.png"):
        gray_png(tmp_path / name)
    assert find_images(tmp_path).classes == ("testicular", "valvular")


def test_a_table_decides_also_where_a_folder_is_called_mednist(tmp_path: Path) -> None:
    for name in ("Hand/1.png", "Hand/2.png", "Head/3.png"):
        gray_png(tmp_path / "MedNIST" / name)
    assert find_images(tmp_path).classes == ("Hand", "Head")
    (tmp_path / "labels.csv").write_text("file,label\nMedNIST/Hand/1.png,a\nMedNIST/Head/3.png,b\n")
    found = find_images(tmp_path)
    assert (found.classes, [file.id for file in found.files]) == (("a", "b"), ["1", "3"])


def test_classes_may_number_many_patients_alike(tmp_path: Path) -> None:
    for label in "ab":
        for number in range(10):
            gray_png(tmp_path / label / f"{number:03}" / "0.png")
    assert [file.id for file in find_images(tmp_path).files] == [
        f"{label}-{k:03}-0" for label in "ab" for k in range(10)
    ]


def test_folders_one_too_high_and_images_without_classes_are_told(tmp_path: Path) -> None:
    gray_png(tmp_path / "train/a/1.png")
    gray_png(tmp_path / "val/a/1.png")
    with pytest.raises(DatasetError, match="lie one folder deeper, in train, val: give one of these"):
        find_images(tmp_path)
    gray_png(tmp_path / "flat/1.png")
    with pytest.raises(DatasetError, match=r"they lie directly in it: .*labels\.csv \(file,label\)"):
        find_images(tmp_path / "flat")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planes", [1, 3])
def test_png_of_either_depth_gray_and_color(tmp_path: Path, bits: int, planes: int) -> None:
    levels = np.random.default_rng(0).integers(0, 2**bits, (6, 5, planes))
    writer = png.Writer(5, 6, greyscale=planes == 1, bitdepth=bits)
    with (tmp_path / "x.png").open("wb") as file:
        writer.write(file, levels.reshape(6, -1).tolist())
    image = read_image(tmp_path / "x.png")
    expected = torch.from_numpy((levels / (2**bits - 1)).astype(np.float32).transpose(2, 0, 1))
    assert torch.equal(image, expected)


def test_other_kinds_of_files(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.tif")
    Image.fromarray((pixels / 255).astype(np.float32)).save(tmp_path / "f.tiff")
    Image.fromarray(pixels).save(tmp_path / "x.jpg", quality=100)
    np.save(tmp_path / "u.npy", pixels)
    np.save(tmp_path / "c.npy", np.random.default_rng(1).random((3, 8, 8)))
    expected = torch.from_numpy((pixels / 255).astype(np.float32))[None]
    assert torch.equal(read_image(tmp_path / "x.tif"), expected)
    assert torch.equal(read_image(tmp_path / "f.tiff"), expected)
    assert torch.equal(read_image(tmp_path / "u.npy"), expected)
    assert read_image(tmp_path / "c.npy").shape == (3, 8, 8)
    assert (read_image(tmp_path / "x.jpg") - expected).abs().max() < 0.03


def save_turned(path: Path, pixels: NDArray[np.generic], orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if pixels.ndim == 2:
        Image.fromarray(pixels).save(path, exif=exif)
        return
    # Pillow writes no 16-bit colors: the tag is put into a file that has them.
    height, width = pixels.shape[:2]
    buffer = io.BytesIO()
    png.Writer(width, height, greyscale=False, bitdepth=16).write(buffer, pixels.reshape(height, -1).tolist())
    chunks = list(png.Reader(bytes=buffer.getvalue()).chunks())
    with path.open("wb") as file:
        png.write_chunks(file, [chunks[0], (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")), *chunks[1:]])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["x.png", "deep.png", "color.png", "x.tif"])
def test_an_image_is_read_as_people_see_it_whatever_its_orientation_tag(
    tmp_path: Path, name: str, orientation: int
) -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 2**16, (5, 7, 3) if name == "color.png" else (5, 7), dtype=np.uint16)
    pixels = pixels.astype(np.uint8) if name.startswith("x") else pixels
    save_turned(tmp_path / name, pixels, orientation)
    planes = []
    for plane in np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else [pixels]:
        image = Image.fromarray(np.ascontiguousarray(plane))
        image.getexif()[ExifTags.Base.Orientation] = orientation
        planes.append(np.asarray(ImageOps.exif_transpose(image)))
    expected = torch.from_numpy((np.stack(planes) / np.iinfo(pixels.dtype).max).astype(np.float32))
    assert torch.equal(read_image(tmp_path / name), expected)


def broken(path: Path) -> list[tuple[str, bytes]]:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(buffer, "PNG")
    alpha = io.BytesIO()
    Image.new("RGBA", (4, 4)).save(alpha, "PNG")
    arrays = {"nan.npy": np.full((4, 4), np.nan), "wide.npy": np.full((4, 4), 2.0), "deep.npy": np.zeros((2, 4, 4, 4))}
    arrays |= {"signed.npy": np.zeros((4, 4), np.int16)}
    files = [
        ("cut.png", buffer.getvalue()[:-900]),
        ("text.png", b"hello"),
        ("empty.jpg", b""),
        ("rgba.png", alpha.getvalue()),
    ]
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.save(stream, array)
        files.append((name, stream.getvalue()))
    files.append(("volume.nii.gz", b"not gzip"))
    return files


@pytest.mark.parametrize(
    "name",
    ["cut.png", "text.png", "empty.jpg", "rgba.png", "nan.npy", "wide.npy", "deep.npy", "signed.npy", "volume.nii.gz"],
)
def test_a_bad_file_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(dict(broken(tmp_path))[name])
    with pytest.raises(ImageError) as error:
        read_image(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_images_of_one_shape_are_loaded_and_others_ask_for_a_size(tmp_path: Path) -> None:
    gray_png(tmp_path / "a/1.png", size=16)
    gray_png(tmp_path / "b/2.png", size=20)
    with pytest.raises(ImageError, match="--size"):
        load_image_set(find_images(tmp_path))
    images = load_image_set(find_images(tmp_path), 16)
    assert images.images.shape == (2, 1, 16, 16)
    assert images.ids == ("1", "2")
    assert images.labels.tolist() == [0, 1]


def test_mixed_gray_and_color_files_become_gray(tmp_path: Path) -> None:
    gray_png(tmp_path / "a/1.png", 100)
    Image.fromarray(np.full((16, 16, 3), 100, np.uint8)).save(tmp_path / "a/2.png")
    with pytest.raises(ImageError, match="--gray"):
        load_image_set(find_images(tmp_path))
    images = load_image_set(find_images(tmp_path), gray=True)
    assert torch.equal(images.images[0], images.images[1])
    color = torch.stack([torch.ones(2, 2), torch.zeros(2, 2), torch.zeros(2, 2)])
    torch.testing.assert_close(to_gray(color), torch.full((1, 2, 2), 0.299))


def make_set(counts: tuple[int, ...]) -> ImageSet:
    labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    ids = tuple(f"i{number}" for number in range(len(labels)))
    return ImageSet(torch.rand(len(labels), 1, 4, 4), labels, ids, tuple("abc"[: len(counts)]))


def test_a_split_keeps_the_proportions_and_loses_nothing() -> None:
    images = make_set((20, 10, 5))
    large, small = images.split(0.2, seed=3)
    assert small.labels.bincount().tolist() == [4, 2, 1]
    assert sorted(large.ids + small.ids) == sorted(images.ids)
    assert images.split(0.2, seed=3)[1].ids == small.ids
    assert images.split(0.2, seed=4)[1].ids != small.ids
    with pytest.raises(DatasetError, match="too few"):
        make_set((5, 1)).split(0.5)


def test_images_are_picked_by_id_in_the_order_asked_for() -> None:
    images = make_set((3, 3))
    picked = images.with_ids(("i4", "i0"))
    assert torch.equal(picked.images, images.images[[4, 0]])
    with pytest.raises(DatasetError, match="'nobody'"):
        images.with_ids(("i1", "nobody"))


def test_an_encrypted_folder_is_read_through_its_manifest(tmp_path: Path) -> None:
    gray_png(tmp_path / "a/1.png")
    (tmp_path / "a/1.nii.gz").write_bytes(encode_image(torch.rand(1, 16, 16), "nifti"))
    with pytest.raises(DatasetError, match="two images with one id"):
        find_images(tmp_path)


@pytest.mark.parametrize("label", ["../elsewhere", "a/b", "", ".hidden"])
def test_a_class_that_cannot_be_a_folder_name_is_refused(tmp_path: Path, label: str) -> None:
    gray_png(tmp_path / "x.png")
    (tmp_path / "labels.csv").write_text(f"file,label\nx.png,{label}\n")
    with pytest.raises(DatasetError, match="cannot be a file name; rename it"):
        find_images(tmp_path)


@pytest.mark.parametrize("name", ["a" * 251, "ü" * 124])
def test_a_name_without_room_for_the_endings_of_files_is_refused(tmp_path: Path, name: str) -> None:
    gray_png(tmp_path / "a" / f"{name}.png")
    with pytest.raises(DatasetError, match=r"expected 246 at most, to leave room .*; rename it"):
        find_images(tmp_path)
    (tmp_path / "a" / f"{name}.png").rename(tmp_path / "a" / f"{'a' * 246}.png")
    assert [file.mask_path for file in find_images(tmp_path).files] == [None]


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000])
def test_a_table_with_a_name_longer_than_any_file_s_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "labels.csv").write_text(f"file,label\n{name}x.png,a\n")
    with pytest.raises(DatasetError, match="which is no image file next to it; correct the table"):
        find_images(tmp_path)


def test_a_table_that_is_no_table_is_refused(tmp_path: Path) -> None:
    gray_png(tmp_path / "x.png")
    (tmp_path / "labels.csv").write_bytes(b"file,label\n\xff\xfe.png,a\n")
    with pytest.raises(DatasetError, match="expected CSV in UTF-8"):
        find_images(tmp_path)


@pytest.mark.parametrize("ending", [".mask.png", ".MASK.PNG", ".Mask.Png"])
def test_a_mask_is_a_mask_in_capitals_too(tmp_path: Path, ending: str) -> None:
    gray_png(tmp_path / "a" / "x.png")
    gray_png(tmp_path / "a" / f"x{ending}", 255)
    folder = find_images(tmp_path)
    assert [(file.id, file.mask_path) for file in folder.files] == [("x", tmp_path / "a" / f"x{ending}")]
    assert folder.passed_over == ()


def test_names_in_tables_are_found_by_what_they_look_like(tmp_path: Path) -> None:
    gray_png(tmp_path / "u\u0308.png")
    (tmp_path / "labels.csv").write_text("file\tlabel\n\u200b\u00fc.png\ta\n", encoding="utf-8")
    (tmp_path / "patients.csv").write_text("image;patient\n\u00fc;Mu\u0308ller\n", encoding="utf-8")
    (file,) = find_images(tmp_path).files
    assert (file.path, file.patient) == (tmp_path / "u\u0308.png", "M\u00fcller")


@pytest.mark.parametrize("known", ["\u00fc", "u\u0308"])
@pytest.mark.parametrize("folder", ["\u00fc", "u\u0308"])
def test_a_class_is_known_by_what_its_name_looks_like(tmp_path: Path, known: str, folder: str) -> None:
    gray_png(tmp_path / folder / "1.png")
    assert [file.label for file in find_images(tmp_path, ("a", known)).files] == [1]


def test_images_that_would_be_one_file_on_some_file_systems_are_refused(tmp_path: Path) -> None:
    gray_png(tmp_path / "a" / "P1.png")
    gray_png(tmp_path / "a" / "p1.tif")
    with pytest.raises(DatasetError, match=r"two images whose ids 'P1' and 'p1' differ only in case"):
        find_images(tmp_path)
