from __future__ import annotations

import json
import os
import stat
from collections import Counter
from datetime import datetime, timezone
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from rich.pretty import pretty_repr

from monai_advenc.encryption.base_fit import BaseRecipe
from monai_advenc.encryption.combiners import COMBINERS, CombinerSettings
from monai_advenc.encryption.correspondence import ClassCorrespondence, count_correspondences
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.paper import CORRESPONDENCES
from monai_advenc.encryption.profiles import draw_key, has_setting
from monai_advenc.encryption.secret_encodings import secret_encodings
from monai_advenc.errors import CorrespondenceError, KeyFileError, NetworkError, OutputError, SettingsError
from monai_advenc.perturbation.settings import PerturbationSettings

CLASSES = ("meningioma", "chordoma", "schwannoma", "pituitary", "craniopharyngioma")
PERTURBATION = PerturbationSettings(radius=2, step_size=0.1, steps=100, reference_side=320)


def draw(**options: object) -> EncryptionKey:
    return EncryptionKey.draw(CLASSES, PERTURBATION, **options)  # type: ignore[arg-type]  # Options vary by test.


@settings(deadline=None, max_examples=60)
@given(num_classes=st.integers(2, 12), num_targets=st.integers(1, 4), seed=st.none() | st.integers(0, 1000))
def test_each_column_is_a_permutation_without_fixed_points_and_targets_differ(
    num_classes: int, num_targets: int, seed: int | None
) -> None:
    if num_classes < num_targets + 1:
        with pytest.raises(CorrespondenceError, match="need at least"):
            ClassCorrespondence.draw(num_classes, num_targets, seed=seed)
        return
    drawn = ClassCorrespondence.draw(num_classes, num_targets, seed=seed)
    for column in zip(*drawn.targets, strict=True):
        assert sorted(column) == list(range(num_classes))
        assert all(label != target for label, target in enumerate(column))
    assert all(len(set(row)) == num_targets for row in drawn.targets)


def test_the_draw_is_uniform_over_all_correspondences() -> None:
    derangements = [p for p in permutations(range(4)) if all(i != t for i, t in enumerate(p))]
    pairs = [(a, b) for a in derangements for b in derangements if all(x != y for x, y in zip(a, b, strict=True))]
    draws = 24 * 200
    counts = Counter(
        tuple(zip(*ClassCorrespondence.draw(4, 2, seed=seed).targets, strict=True)) for seed in range(draws)
    )
    assert set(counts) == set(pairs)
    expected = draws / len(pairs)
    # Chi-square with 23 degrees of freedom stays under 49.7 with probability 0.999; the seeds are fixed.
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 49.7


def test_a_seed_reproduces_the_key_and_no_seed_never_does() -> None:
    assert draw(seed=7) == draw(seed=7)
    assert draw(seed=7) != draw(seed=8)
    assert draw().layout_secret != draw().layout_secret


def test_a_seeded_key_is_the_same_on_any_day() -> None:
    assert draw(seed=7).created == datetime(1970, 1, 1, tzinfo=timezone.utc)
    now = draw().created
    assert now > datetime(2020, 1, 1, tzinfo=timezone.utc)
    assert now.microsecond == 0


def test_the_secret_has_256_bits() -> None:
    drawn = [draw().layout_secret for _ in range(64)]
    # No hexadecimal digit of 64 is the same in all of them, and none repeats another.
    columns = list(zip(*drawn, strict=True))
    assert len(columns) == len(set(columns)) == 64
    assert all(len(set(column)) > 1 for column in columns)
    for secret in ("0" * 63, "0" * 65, "A" * 64):
        with pytest.raises(SettingsError):
            EncryptionKey(**{**dict(draw(seed=1)), "layout_secret": secret})


def test_what_is_given_is_kept() -> None:
    given = ClassCorrespondence.draw(5, 2, seed=99)
    key = draw(correspondence=given, recipient="Charité, Köln", seed=1)
    assert key.correspondence == given
    assert key.recipient == "Charité, Köln"


def test_a_key_of_before_there_were_schedules_loads_and_keeps_its_id(tmp_path: Path) -> None:
    written = {
        "format_version": 1,
        "created": "1970-01-01T00:00:00Z",
        "classes": ["a", "b", "c"],
        "correspondence": {"targets": [[2, 1], [0, 2], [1, 0]]},
        "combiner": {"name": "horizontal-concat", "ratios": [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]},
        "perturbation": {
            "norm": "l2",
            "radius": 2.0,
            "step_size": 0.1,
            "steps": 100,
            "reference_side": 320,
            "augmentation": {"max_shift": 0.05, "flip": True},
        },
        "layout_secret": "489397ab46068deb111ed3775abc1b92520c14cd0feda4db226d62a954b92d97",
        "recipient": None,
    }
    path = tmp_path / "key.json"
    path.write_text(json.dumps(written))
    path.chmod(0o600)
    key = EncryptionKey.load(path)
    assert key.perturbation.schedule == "paper"
    assert key.key_id == "b97fb4c8d76c4428"
    assert json.loads(json.dumps(key.model_dump(mode="json"))) == written


def test_a_key_in_the_words_of_version_0_1_loads_in_todays_and_keeps_its_id(tmp_path: Path) -> None:
    """The id of the fast schedule's key was computed by version 0.1, which called that schedule ``cosine``."""
    plan = PerturbationSettings(radius=2, step_size=4, steps=25, schedule="fast", reference_side=320)
    key = EncryptionKey.draw(("a", "b", "c"), plan, seed=5)
    assert key.key_id == "0f7d879bbb31fd17"
    written = key.model_dump(mode="json")
    assert written["perturbation"]["schedule"] == "fast"
    written["perturbation"]["schedule"] = "cosine"
    path = tmp_path / "key.json"
    path.write_text(json.dumps(written))
    path.chmod(0o600)
    assert EncryptionKey.load(path) == key


def test_the_schedule_is_part_of_what_the_id_names(tmp_path: Path) -> None:
    paper = draw(seed=7)
    fast = EncryptionKey.draw(CLASSES, PERTURBATION.model_copy(update={"schedule": "fast"}), seed=7)
    assert paper.key_id != fast.key_id
    fast.save(tmp_path / "key.json")
    assert EncryptionKey.load(tmp_path / "key.json") == fast


@pytest.mark.parametrize("name", CORRESPONDENCES)
def test_the_correspondences_of_the_paper_are_there_as_printed(name: str) -> None:
    assert ClassCorrespondence.from_paper(name).targets == CORRESPONDENCES[name]
    for column in zip(*CORRESPONDENCES[name], strict=True):
        assert sorted(column) == list(range(len(column)))


def test_targets_of_labels() -> None:
    correspondence = ClassCorrespondence.from_paper("section-5")
    assert correspondence.targets_of(torch.tensor([0, 4, 2])).tolist() == [[1, 3], [0, 2], [3, 0]]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (((1,), (0,), (2,)), "own target"),
        (((1,), (1,), (0,)), "permutation"),
        (((1, 1), (2, 2), (0, 0)), "differ"),
        (((1, 2), (2,), (0, 1)), "same number"),
        ((), "two classes"),
    ],
)
def test_a_table_that_breaks_the_rules_is_refused_without_repeating_it(
    targets: tuple[tuple[int, ...], ...], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        ClassCorrespondence(targets=targets)
    assert str(targets) not in str(error.value)


@pytest.mark.parametrize("combiner", COMBINERS)
def test_a_key_survives_its_file(tmp_path: Path, combiner: str) -> None:
    key = draw(combiner=combiner, recipient="Charité, Köln")
    key.save(tmp_path / "key.json")
    assert EncryptionKey.load(tmp_path / "key.json") == key
    assert stat.S_IMODE((tmp_path / "key.json").stat().st_mode) == 0o600


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    draw(seed=1).save(path)
    with pytest.raises(OutputError, match="never overwritten"):
        draw(seed=2).save(path)
    assert EncryptionKey.load(path) == draw(seed=1)
    assert [file.name for file in tmp_path.iterdir()] == ["key.json"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o610])
def test_a_file_that_others_can_touch_is_refused_unless_asked(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.json"
    draw().save(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        EncryptionKey.load(path)
    assert EncryptionKey.load(path, insecure_permissions=True)


def broken_files() -> list[tuple[str, str]]:
    values = draw(seed=3).model_dump(mode="json")
    return [
        ("", "expected JSON"),
        (json.dumps(values)[:100], "expected JSON"),
        ("[" * 100_000, "expected JSON"),
        ("[1, 2]", "no encryption key"),
        ('{"a": 1}', "no encryption key"),
        (json.dumps({**values, "format_version": 2}), "unknown key format"),
        (json.dumps({**values, "classes": ["a", "b"]}), "not a valid key"),
        (json.dumps({**values, "layout_secret": "0" * 63}), "not a valid key"),
        (json.dumps({**values, "correspondence": {"targets": [[0, 1]] * 5}}), "not a valid key"),
        (json.dumps({**values, "surplus": 1}), "not a valid key"),
    ]


@pytest.mark.parametrize(("content", "message"), broken_files())
def test_each_kind_of_broken_file_has_its_own_message_and_none_repeats_the_secret(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=message) as error:
        EncryptionKey.load(path)
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is None
    for form in secret_encodings(draw(seed=3)):
        assert form not in repr(error.value).encode()


def test_a_missing_key_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="keygen"):
        EncryptionKey.load(tmp_path / "none.json")


def test_repr_and_str_show_the_id_alone() -> None:
    key = draw(combiner="mixup-and-concat")
    shown = f"{key!r} {key} {key.correspondence!r} {key.correspondence} {key.combiner!r} {key.combiner}"
    assert key.key_id in shown
    assert not any(form in shown.encode() for form in secret_encodings(key))
    assert "0.4" not in shown


def test_the_id_depends_on_everything_in_the_key() -> None:
    key = draw(seed=1)
    changed = [
        key.model_copy(update={"recipient": "another"}),
        key.model_copy(update={"layout_secret": "0" * 64}),
        key.model_copy(update={"correspondence": ClassCorrespondence.draw(5, 2, seed=99)}),
        key.model_copy(update={"combiner": CombinerSettings(name="horizontal-concat", ratios=((0.2, 0.8),) * 5)}),
    ]
    assert len({key.key_id, *(other.key_id for other in changed)}) == 1 + len(changed)


def test_parts_of_a_key_must_fit_together() -> None:
    with pytest.raises(SettingsError, match="another number of targets"):
        EncryptionKey(**{**dict(draw(seed=1)), "correspondence": ClassCorrespondence.draw(5, 1)})
    for count in (4, 6):
        for other in (
            {"correspondence": ClassCorrespondence.draw(count, 2)},
            {"combiner": CombinerSettings.default("horizontal-concat", count)},
        ):
            with pytest.raises(SettingsError, match="one row for each class"):
                EncryptionKey(**{**dict(draw(seed=1)), **other})
    for classes in (["a", "a", "b"], ["a", "", "b"]):
        with pytest.raises(SettingsError, match="different and not empty"):
            EncryptionKey.draw(classes, PERTURBATION)
    for recipient in ("a\nb", "a\x1b[31m"):
        with pytest.raises(SettingsError, match="plain text"):
            draw(recipient=recipient)


def test_seeds_have_63_bits() -> None:
    seeds = draw(seed=1).image_seeds("views", torch.rand(64, 1, 4, 4))
    assert min(seeds) >= 0
    assert 2**62 <= max(seeds) < 2**63


def test_seeds_come_from_the_pixels_not_from_the_position() -> None:
    key, images = draw(seed=1), torch.rand(4, 1, 8, 8)
    seeds = key.image_seeds("views", images)
    assert key.image_seeds("views", images.flip(0)) == seeds[::-1]
    assert key.image_seeds("layout", images) != seeds
    assert draw(seed=2).image_seeds("views", images) != seeds


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
def test_a_key_is_private_from_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    link = os.link
    monkeypatch.setattr(
        os, "link", lambda source, path: (modes.append(Path(source).stat().st_mode), link(source, path))
    )
    draw().save(tmp_path / "key.json")
    assert [stat.S_IMODE(mode) for mode in modes] == [0o600]


def test_pretty_printers_show_the_key_id_alone() -> None:
    key = draw(seed=1)
    assert pretty_repr(key, max_width=200) == repr(key)
    shown = pretty_repr(key) + pretty_repr({"nested": [key]}) + repr(key) + str(key)
    assert key.key_id in shown
    assert not any(secret.decode("latin1") in shown for secret in secret_encodings(key))
    assert key.layout_secret[:16] not in shown


def test_the_forms_of_a_secret_are_those_in_which_it_could_be_written() -> None:
    key = draw(seed=1)
    rows = [list(row) for row in key.correspondence.targets]
    column = [row[0] for row in rows]
    written = [
        *(json.dumps(rows, separators=separators) for separators in (None, (",", ":"))),
        json.dumps(rows, indent=2),
        json.dumps(column),
        repr(key.correspondence.targets),
        key.layout_secret,
        key.layout_secret.upper(),
    ]
    assert {bytes.fromhex(key.layout_secret), *(form.encode() for form in written)} <= secret_encodings(key)


@pytest.mark.parametrize(("classes", "targets"), [(2, 1), (3, 1), (3, 2), (4, 1), (4, 2)])
def test_correspondences_are_counted_as_they_are_drawn(classes: int, targets: int) -> None:
    drawn = {ClassCorrespondence.draw(classes, targets, seed=seed).targets for seed in range(400)}
    assert count_correspondences(classes, targets) == len(drawn)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_an_error_minimizing_key_leads_each_class_to_itself_and_names_its_family(classes: int, tmp_path: Path) -> None:
    key = draw_key([f"class {number}" for number in range(classes)], profile="error-minimizing")
    assert key.family == "error-minimizing"
    assert key.combiner.name == "basic"
    assert key.perturbation.augmentation is not None
    labels = torch.arange(classes)
    assert torch.equal(key.correspondence.targets_of(labels), labels[:, None])
    key.save(tmp_path / "key.json")
    assert EncryptionKey.load(tmp_path / "key.json") == key
    assert has_setting(key, "profile", "error-minimizing")
    assert not has_setting(key, "profile", "default")


def test_a_strong_key_says_how_steps_and_base_network_differ_and_is_told_from_the_usual_one(tmp_path: Path) -> None:
    strong, usual = (draw_key(("a", "b", "c"), profile=name, seed=0) for name in ("strong", "error-minimizing"))
    assert strong.family == usual.family == "error-minimizing"
    assert strong.perturbation.grain is not None
    assert strong.base is not None
    assert strong.base == BaseRecipe(network="ensemble_small", drawn_classes=True)
    strong.save(tmp_path / "key.json")
    assert EncryptionKey.load(tmp_path / "key.json") == strong
    for key, own, other in ((strong, "strong", "error-minimizing"), (usual, "error-minimizing", "strong")):
        assert has_setting(key, "profile", own)
        assert not has_setting(key, "profile", other)
    assert not {"base", "grain"} & (usual.model_dump().keys() | usual.model_dump()["perturbation"].keys())


def test_only_an_error_minimizing_key_says_how_its_base_network_is_trained() -> None:
    strong, targeted = draw_key(("a", "b", "c"), profile="strong"), draw_key(("a", "b", "c"))
    with pytest.raises(SettingsError, match="only an error-minimizing key"):
        EncryptionKey.draw(targeted.classes, targeted.perturbation, base=strong.base)


@pytest.mark.parametrize("other", [{"combiner": "horizontal-concat"}, {"correspondence": "table-4"}])
def test_an_error_minimizing_key_takes_no_targets_and_no_combiner(other: Any) -> None:
    with pytest.raises(SettingsError, match="own class"):
        draw_key([str(number) for number in range(10)], profile="error-minimizing", **other)


def test_a_base_network_must_be_of_the_family_of_the_key() -> None:
    classes = ("a", "b", "c")
    targeted, own = draw_key(classes), draw_key(classes, profile="error-minimizing")
    trained = {"family": "error-minimizing", "norm": "l2", "radius": 2.0, "radius_at": 320}
    targeted.require_base(classes, {})
    own.require_base(classes, trained)
    for key, notes, family in ((targeted, trained, "error-minimizing"), (own, {}, "targeted")):
        with pytest.raises(NetworkError, match=f"trained for {family} perturbations"):
            key.require_base(classes, notes)


@pytest.mark.parametrize("other", [{"radius": 0.4}, {"radius_at": 64}, {"norm": "linf"}])
def test_an_error_minimizing_base_network_is_for_one_ball(other: dict[str, Any]) -> None:
    key = draw_key(("a", "b"), profile="error-minimizing")
    trained = {"family": "error-minimizing", "norm": "l2", "radius": 2.0, "radius_at": 320}
    key.require_base(("a", "b"), trained)
    with pytest.raises(NetworkError, match="was trained for radius"):
        key.require_base(("a", "b"), trained | other)


def test_a_base_network_is_for_one_grain_and_one_way_to_learn_classes() -> None:
    strong, usual = (draw_key(("a", "b"), profile=name) for name in ("strong", "error-minimizing"))
    assert strong.perturbation.grain is not None
    trained = {"family": "error-minimizing", "norm": "l2", "radius": 2.0, "radius_at": 320}
    fine = trained | strong.perturbation.grain.notes()
    drawn = {"drawn_classes": True}
    strong.require_base(("a", "b"), fine | drawn)
    usual.require_base(("a", "b"), trained)
    for key, notes in ((strong, trained), (usual, fine)):
        with pytest.raises(NetworkError, match=r"was trained for radius .* grain"):
            key.require_base(("a", "b"), notes)
    for key, notes, said in (
        (strong, fine, "drawn at random are learned by the key's"),
        (usual, trained | drawn, "drawn at random are learned by this"),
    ):
        with pytest.raises(NetworkError, match=said):
            key.require_base(("a", "b"), notes)


def test_the_table_of_own_classes_is_no_secret_but_the_layout_is() -> None:
    key = draw_key(("glioma", "meningioma"), profile="error-minimizing")
    forms = secret_encodings(key)
    assert bytes.fromhex(key.layout_secret) in forms
    assert not any(b"glioma" in form for form in forms)
