"""Leaked images are found among originals, laid onto them, and scored by the marks of keys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy import ndimage, stats
from skimage.transform import resize

from monai_advenc.data.images.folder import find_images
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.keyed_digest import mark_seed
from monai_advenc.encryption.mark import add_marks, content_of, signs
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.errors import DatasetError
from monai_advenc.evaluation.tracing import leaked_images
from monai_advenc.evaluation.tracing.commitment import StoredCommitment, commit
from monai_advenc.evaluation.tracing.decoys import Decoys
from monai_advenc.evaluation.tracing.files import Evidence, scores_of, waves_of
from monai_advenc.evaluation.tracing.leaked_images import MOST_IMAGES, Originals, examine, leaked_files
from monai_advenc.evaluation.tracing.matching import MATCHED, Thumbnails, find_original
from monai_advenc.evaluation.tracing.recipients import Recipient
from monai_advenc.evaluation.tracing.registration import likeness, register
from monai_advenc.evaluation.tracing.residual import residual_of
from monai_advenc.evaluation.tracing.significance import Suspect
from monai_advenc.evaluation.tracing.trace_files import images_needed, trace_files
from monai_advenc.progress import ConsoleProgress

Image = NDArray[np.float64]


def picture(seed: int, height: int = 72, width: int = 80) -> Image:
    """Smooth structures with edges, in [0.1, 0.9], on a black frame."""
    draw = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(draw.standard_normal((height, width)), 4)
    image = 0.5 + 0.4 * np.tanh(3 * rough / rough.std()) + 0.01 * draw.standard_normal((height, width))
    image[:4] = image[-4:] = 0.0
    # As an 8-bit file has it.
    rounded: Image = np.round(255 * image.clip(0, 1)) / 255
    return rounded


def marked(image: Image, secret: bytes, length: float) -> Image:
    """With the mark of a secret, of root mean square ``length``, and noise of the same strength."""
    original = torch.from_numpy(image).float()[None]
    noise = 0.01 * torch.randn(original.shape, generator=torch.Generator().manual_seed(len(secret)))
    noisy = (original + noise).clamp(0, 1)
    radius = 10 * length * image.size**0.5
    seed = mark_seed(secret, content_of(original))
    found = add_marks(noisy[None], original[None], (original + 1)[None, None], [seed], 0.1, radius, "l2")
    return found[0, 0].double().numpy()


def score(original: Image, leaked: Image, secret: bytes) -> float:
    placement = register(original, leaked)
    waves = waves_of(original, residual_of(original, leaked, placement))
    content = content_of(torch.from_numpy(original).float()[None])
    return float(scores_of([secret], [Evidence(content, waves)])[0])


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    top=st.integers(0, 4),
    left=st.integers(0, 4),
    bottom=st.integers(0, 4),
    right=st.integers(0, 4),
    share=st.sampled_from([0.75, 0.9, 1.0, 1.3]),
    slope=st.floats(0.5, 2),
    offset=st.floats(-0.5, 0.5),
)
def test_a_cropped_and_resized_image_is_laid_where_it_was(
    seed: int, top: int, left: int, bottom: int, right: int, share: float, slope: float, offset: float
) -> None:
    original = picture(seed)
    part = original[top : 72 - bottom, left : 80 - right]
    sides = [round(side * share) for side in part.shape]
    leaked = resize(slope * part + offset, sides, order=1, anti_aliasing=True) if share != 1 else slope * part + offset
    found = register(original, leaked)
    for axis, start in enumerate((top, left)):
        scale = part.shape[axis] / sides[axis]
        for place in (0, sides[axis] - 1):
            expected = scale * (place + 0.5) - 0.5 + start
            assert abs(found.scale[axis] * place + found.shift[axis] - expected) < 0.4
    assert found.likeness > 0.98


def test_other_images_are_no_copies() -> None:
    assert register(picture(1), picture(2)).likeness < MATCHED
    assert likeness(np.ones((4, 4)), np.eye(4)) == 0


def test_a_leaked_image_finds_its_original_among_others_whatever_was_cut_off() -> None:
    originals = [picture(seed) for seed in range(30)]
    thumbnails = Thumbnails(originals)
    for row in (0, 7, 29):
        for leaked in (originals[row], originals[row][2:, 3:], resize(originals[row], (50, 61), anti_aliasing=True)):
            found = find_original(leaked, thumbnails, lambda row: originals[row])
            assert found is not None
            assert found.row == row
    assert find_original(picture(99), thumbnails, lambda row: originals[row]) is None


def test_nothing_is_left_of_an_image_that_was_only_exported() -> None:
    original = picture(5)
    exports = {
        "another window": np.clip(1.4 * original - 0.2, 0, 1),
        "gamma": original**0.7,
        "blur": ndimage.gaussian_filter(original, 0.8),
        "half a pixel": ndimage.shift(original, (0.5, -0.3), order=3, mode="nearest"),
    }
    for name, leaked in exports.items():
        rest = residual_of(original, leaked, register(original, leaked))[6:-6, 6:-6]
        assert rest.std() < 0.15 * np.abs(leaked - original)[6:-6, 6:-6].std() + 2e-3, name


@pytest.mark.parametrize("way", ["same", "8 bits", "cropped", "smaller", "window", "blurred"])
def test_a_mark_is_found_whatever_happened_to_the_image(way: str) -> None:
    original, secret = picture(11, 96, 96), b"s" * 32
    leaked = marked(original, secret, 0.006)
    change = {
        "same": lambda image: image,
        "8 bits": lambda image: np.round(255 * image) / 255,
        "cropped": lambda image: image[3:-2, 1:-4],
        "smaller": lambda image: resize(image, (76, 76), order=1, anti_aliasing=True),
        "window": lambda image: np.clip(1.5 * image - 0.3, 0, 1),
        "blurred": lambda image: ndimage.gaussian_filter(image, 0.6),
    }[way]
    assert score(original, change(leaked), secret) > 5
    assert abs(score(original, change(leaked), b"t" * 32)) < 4.5


def test_scores_of_keys_without_part_in_the_leak_have_mean_0_and_variance_1() -> None:
    evidence = []
    for seed in range(3):
        original = picture(seed)
        leaked = marked(original, b"s" * 32, 0.006)
        waves = waves_of(original, residual_of(original, leaked, register(original, leaked)))
        evidence.append(Evidence(bytes([seed]), waves))
    decoys = Decoys("ab" * 32, 4000)
    found = scores_of((decoys.secret(number) for number in range(decoys.count)), evidence)
    assert abs(found.mean()) < 0.08
    assert abs(found.std() - 1) < 0.06
    assert stats.kstest(found, "norm").pvalue > 0.001


@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_a_score_is_the_sum_of_products_of_signs_and_waves(count: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    evidence = [Evidence(draw.bytes(32), draw.standard_normal(count + extra)) for extra in range(3)]
    secrets = [draw.bytes(32) for _ in range(5)]
    length = np.sqrt(sum((each.waves**2).sum() for each in evidence))
    expected = [
        sum(signs(mark_seed(secret, each.content), len(each.waves)) @ each.waves for each in evidence) / length
        for secret in secrets
    ]
    assert np.allclose(scores_of(secrets, evidence), expected)
    assert np.array_equal(scores_of(secrets, evidence)[2:3], scores_of(secrets[2:3], evidence))


def test_a_residual_of_nothing_scores_nothing() -> None:
    original = picture(3)
    waves = waves_of(original, np.zeros_like(original))
    assert not waves.any()
    assert scores_of([b"s" * 32], [Evidence(b"", waves)]).tolist() == [0]
    assert not residual_of(original, np.full((20, 20), 0.5), register(original, np.full((20, 20), 0.5))).any()


def test_leaked_files_are_taken_by_content_and_what_is_none_of_ours_is_counted(tmp_path: Path) -> None:
    for row in range(4):
        (tmp_path / "originals" / "ab"[row % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.round(255 * picture(row)).astype(np.uint8)
        Picture.fromarray(pixels).save(tmp_path / "originals" / "ab"[row % 2] / f"{row}.png")
    leaked = tmp_path / "leaked" / "deep"
    leaked.mkdir(parents=True)
    for row in (2, 0):
        pixels = np.round(255 * marked(picture(row), b"s" * 32, 0.006)).astype(np.uint8)
        Picture.fromarray(pixels).save(leaked / f"x{9 - row}.png")
    # A second file of the same image adds to the first.
    (leaked / "again.png").write_bytes((leaked / "x7.png").read_bytes())
    Picture.fromarray(np.round(255 * picture(50)).astype(np.uint8)).save(leaked / "other.png")
    (leaked / "broken.png").write_bytes(b"no image")
    (leaked / "x7.mask.png").write_bytes(b"no image either")
    (leaked / "notes.txt").write_text("not an image")
    paths = leaked_files(tmp_path / "leaked")
    assert [path.name for path in paths] == ["again.png", "broken.png", "other.png", "x7.png", "x9.png"]
    found = examine(paths, Originals(find_images(tmp_path / "originals")))
    assert (found.found, found.used, found.unmatched) == (5, 3, ("other.png",))
    assert [name for name, _ in found.unread] == ["broken.png"]
    assert len(found.evidence) == 2
    assert scores_of([b"s" * 32], found.evidence)[0] > 5
    one = examine(leaked_files(leaked / "x9.png"), Originals(find_images(tmp_path / "originals")))
    assert (one.found, one.used) == (1, 1)


def test_an_original_that_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "originals" / "a").mkdir(parents=True)
    (tmp_path / "leaked").mkdir()
    key = draw_key(["a", "b"], recipient="A", seed=1)
    for row in range(2):
        pixels = np.round(255 * picture(row)).astype(np.uint8)
        Picture.fromarray(pixels).save(tmp_path / "originals" / "a" / f"{row}.png")
        pixels = np.round(255 * marked(picture(row), bytes.fromhex(key.layout_secret), 0.006)).astype(np.uint8)
        Picture.fromarray(pixels).save(tmp_path / "leaked" / f"x{row}.png")
    (tmp_path / "originals" / "a" / "0.png").write_bytes(b"no image")
    owned = Originals(find_images(tmp_path / "originals"))
    found = trace_files(tmp_path / "leaked", owned, [Recipient("A", key, "0" * 64)], few_decoys(tmp_path, key))
    assert [each.recipient for each in found.accused] == ["A"]
    assert [found.counts[f"images_{each}"] for each in ("found", "used", "unmatched")] == [2, 1, 1]
    assert found.counts["originals_unread"] == 1
    assert ("Originals not readable", "1, such as 0") in found.facts
    with pytest.raises(DatasetError, match=r"none of 1 leaked images.*1 originals cannot be read, such as 0"):
        trace_files(tmp_path / "leaked" / "x0.png", owned, [Recipient("A", key, "0" * 64)], few_decoys(tmp_path, key))
    (tmp_path / "originals" / "a" / "1.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"none of 2 originals can be read, such as 0 \("):
        examine(leaked_files(tmp_path / "leaked"), owned)


@pytest.mark.parametrize(("size", "last_bits"), [(None, 0.0), (80, 0.0), (80, 1e-5)])
def test_a_trace_of_resized_originals_says_that_another_processor_may_hide_every_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None, last_bits: float
) -> None:
    (tmp_path / "originals" / "a").mkdir(parents=True)
    key, lines = draw_key(["a", "b"], recipient="A", seed=1), []
    pixels = np.round(255 * picture(0)).astype(np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "originals" / "a" / "0.png")
    leaked = np.round(255 * marked(picture(0), bytes.fromhex(key.layout_secret), 0.006)).astype(np.uint8)
    Picture.fromarray(leaked).save(tmp_path / "leaked.png")
    monkeypatch.setattr(leaked_images, "resize_image", lambda image, _: image + last_bits)
    monkeypatch.setattr(ConsoleProgress, "say", lambda _, line: lines.append(line))
    owned = Originals(find_images(tmp_path / "originals"), size)
    recipients = [Recipient("A", key, "0" * 64)]
    found = trace_files(
        tmp_path / "leaked.png", owned, recipients, few_decoys(tmp_path, key), progress=ConsoleProgress()
    )
    assert [each.recipient for each in found.accused] == ([] if last_bits else ["A"])
    assert any("resized" in limit and "another kind of processor" in limit for limit in found.limits) == bool(size)
    assert any("another kind of processor" in line for line in lines) == bool(last_bits)


def few_decoys(folder: Path, key: EncryptionKey) -> StoredCommitment:
    """A commitment to so few decoys that a test is short."""
    path = folder / f"commitment{len(list(folder.iterdir()))}.json"
    return commit([Recipient("A", key, "0" * 64)], path, decoys=5000)


def test_further_files_of_one_original_do_not_count_as_further_images(tmp_path: Path) -> None:
    (tmp_path / "originals" / "a").mkdir(parents=True)
    key = draw_key(["a", "b"], recipient="A", seed=1)
    counts = []
    for copies in (1, 4):
        leaked = tmp_path / f"leaked{copies}"
        leaked.mkdir()
        for row in range(2):
            pixels = np.round(255 * picture(row)).astype(np.uint8)
            Picture.fromarray(pixels).save(tmp_path / "originals" / "a" / f"{row}.png")
            own = marked(picture(row), bytes.fromhex(key.layout_secret), 0.006)
            for copy in range(copies):
                Picture.fromarray(np.round(255 * own).astype(np.uint8)).save(leaked / f"{row}-{copy}.png")
        owned = Originals(find_images(tmp_path / "originals"))
        found = trace_files(leaked, owned, [Recipient("A", key, "0" * 64)], few_decoys(tmp_path, key))
        assert [each.recipient for each in found.accused] == ["A"]
        counts.append((found.counts["images_used"], found.counts["originals_used"], found.counts["images_needed"]))
    needed = counts[0][2]
    assert counts == [(2, 2, needed), (8, 2, needed)]


def test_a_copy_in_color_is_traced_in_color_and_in_gray(tmp_path: Path) -> None:
    (tmp_path / "originals" / "a").mkdir(parents=True)
    pixels = np.stack([np.round(255 * picture(seed)).astype(np.uint8) for seed in (1, 2, 3)], axis=2)
    Picture.fromarray(pixels).save(tmp_path / "originals" / "a" / "1.png")
    original = torch.from_numpy(pixels / 255).float().permute(2, 0, 1)
    seed = mark_seed(b"s" * 32, content_of(original))
    leaked = add_marks(original[None], original[None], (original + 1)[None, None], [seed], 0.1, 18.0, "l2")[0]
    saved = Picture.fromarray((255 * leaked).round().permute(1, 2, 0).numpy().astype(np.uint8))
    for number, each in enumerate((saved, saved.convert("L"))):
        each.save(tmp_path / f"{number}.png")
        found = examine([tmp_path / f"{number}.png"], Originals(find_images(tmp_path / "originals")))
        assert scores_of([b"s" * 32], found.evidence)[0] > 5


def test_of_very_many_leaked_files_some_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "originals" / "a").mkdir(parents=True)
    (tmp_path / "leaked").mkdir()
    Picture.fromarray(np.round(255 * picture(0)).astype(np.uint8)).save(tmp_path / "originals" / "a" / "1.png")
    for number in range(MOST_IMAGES + 7):
        (tmp_path / "leaked" / f"{number:03}.png").write_bytes(b"no image")
    found = examine(leaked_files(tmp_path / "leaked"), Originals(find_images(tmp_path / "originals")))
    assert found.found == MOST_IMAGES + 7
    names = [name for name, _ in found.unread]
    assert len(set(names)) == MOST_IMAGES
    assert (names[0], names[-1]) == ("000.png", "056.png")


def test_fewer_images_are_needed_where_each_says_more() -> None:
    def found(score: float) -> list[Suspect]:
        return [Suspect("A", score, 1e-5, 5e-5, 1e-4, True), Suspect("B", 0.0, 0.5, 0.5, 1.0, False)]

    # A normal score is above 3.29 with probability 1/2000.
    assert images_needed(found(3.3), 10, 5e-4) == 10
    assert images_needed(found(6.6), 10, 5e-4) == 3
    assert images_needed(found(60.0), 10, 5e-4) == 1
    assert images_needed(found(3.3)[1:], 10, 5e-4) is None
