from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from monai_advenc.data.images.folder import find_images
from monai_advenc.data.images.writing import encode_image, encode_mask
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.evaluation.measurement import Measurement
from monai_advenc.evaluation.report import Note, Table, encryption_report, figures
from monai_advenc.evaluation.report.figures import accuracy_figure, difference, overview
from monai_advenc.evaluation.verdict import Verdict
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.options import EncryptionOptions
from tests.conftest import tiny_network

CLASSES = ("a<b>", "c&d", "e")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("report")
    for name in CLASSES:
        (root / "in" / name).mkdir(parents=True)
        (root / "in" / name / f"{name}1.png").write_bytes(encode_image(torch.rand(1, 32, 32), "png16"))
        mask = torch.zeros(32, 32, dtype=torch.bool)
        mask[8:20, 8:20] = True
        (root / "in" / name / f"{name}1.mask.png").write_bytes(encode_mask(mask.numpy()))
    key = EncryptionKey.draw(CLASSES, PerturbationSettings(radius=1, step_size=0.3, steps=3), seed=1)
    encrypt_images(find_images(root / "in"), root / "out", key, tiny_network(3), EncryptionOptions(formats=("png16",)))
    return root / "in", root / "out"


def measurement(network: str, trained_on: str, test_set: str, last: float) -> Measurement:
    return Measurement(
        network=network,
        trained_on=trained_on,
        test_set=test_set,
        seed=0,
        last=last,
        peak=min(1, last + 0.05),
        low=max(0, last - 0.1),
        high=min(1, last + 0.1),
        per_class=(last, None, last),
        confusion=((5, 3, 2), (0, 0, 0), (1, 1, 8)),
        history=(last,),
    )


MEASURED = [
    measurement(network, trained_on, test_set, value)
    for network in ("vgg_small", "preresnet_small")
    for trained_on, test_set, value in (("clean", "orig", 0.9), ("encrypted", "enc", 0.98), ("encrypted", "orig", 0.31))
]


def test_a_page_needs_nothing_from_outside(folders: tuple[Path, Path]) -> None:
    originals, encrypted = folders
    table = Table(caption="note table", columns=("x",), rows=(("<script>",),))
    page = encryption_report(
        find_images(originals),
        encrypted,
        measurements=MEASURED,
        headline="encrypted",
        notes=[Note(heading="A & B", text="<b>bold</b>", table=table)],
        facts={"seed": "0"},
    )
    addresses = set(re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', page))
    assert {address for address in addresses if not address.startswith(("data:image/png", "#"))} == set()
    assert "<script" not in page
    assert "<b>bold" not in page
    assert "a&lt;b&gt;" in page
    assert "default-src 'none'" in page


def test_a_page_shows_the_numbers_and_says_what_it_is_not(folders: tuple[Path, Path]) -> None:
    originals, encrypted = folders
    page = encryption_report(find_images(originals), encrypted, measurements=MEASURED, headline="encrypted")
    for text in ("98%", "31%", "90%", "no cryptography", "no de-identification", "PSNR", "difference"):
        assert text in page
    assert page.count('<img src="data:image/png;base64,') == 9 + len(CLASSES)  # One map of the change for each class.
    assert all(alt.strip() for alt in re.findall(r'alt="([^"]*)"', page))


def test_the_large_figure_is_the_accuracy_by_which_the_verdict_goes(folders: tuple[Path, Path]) -> None:
    verdict = Verdict(verdict="weak", reason="", advice="", accuracy=0.47)
    originals, encrypted = folders
    page = encryption_report(
        find_images(originals), encrypted, verdict=verdict, measurements=MEASURED, headline="encrypted"
    )
    assert re.search(r'class="card orig"><b>47%</b>.*best network.*mean of all, their answers as given: 31%', page)
    assert "<td>originals</td>" in page
    assert "<td>encrypted images</td>" in page
    assert "clean</td>" not in page


def test_a_page_without_victims_has_only_pictures_and_budget(folders: tuple[Path, Path]) -> None:
    page = encryption_report(find_images(folders[0]), folders[1])
    assert "Accuracy of trained networks" not in page
    assert "Size of the change" in page


def test_the_same_numbers_give_the_same_page(folders: tuple[Path, Path]) -> None:
    pages = {
        encryption_report(find_images(folders[0]), folders[1], measurements=MEASURED, headline="encrypted")
        for _ in range(2)
    }
    assert len(pages) == 1


def test_differences_are_amplified_around_middle_gray() -> None:
    original = torch.tensor([[[0.5, 0.5, 0.5]]])
    encrypted = torch.tensor([[[0.5, 0.51, 0.4]]])
    assert difference(encrypted, original)[0, 0].tolist() == pytest.approx([0.5, 0.7, 0.0], abs=1e-5)


def test_the_overview_is_a_picture() -> None:
    image = torch.rand(1, 16, 16)
    assert overview([("x", image, image)]).startswith(b"\x89PNG")


@pytest.mark.parametrize("networks", [1, 2, 4])
@pytest.mark.parametrize("arms", [("clean",), ("clean", "encrypted"), ("clean", "encrypted", "encrypted body only")])
def test_the_legend_covers_neither_label_nor_bars(networks: int, arms: tuple[str, ...]) -> None:
    rows = [
        {"network": f"network_{number}", "trained_on": arm, "test_set": "orig", "last": 0.5, "std": 0.1}
        for number in range(networks)
        for arm in arms
    ]
    figure = accuracy_figure(rows, 0.4)
    FigureCanvasAgg(figure).draw()
    (legend,), (axes,) = figure.legends, figure.axes
    box = legend.get_window_extent()
    for other in (axes.xaxis.label.get_window_extent(), axes.get_window_extent()):
        assert not box.overlaps(other)
    assert box.y0 >= 0
    assert figure.bbox.contains(box.x0, box.y0)
    assert figure.bbox.contains(box.x1, box.y1)


def test_names_of_classes_are_drawn_as_they_are_and_not_set_as_formulas() -> None:
    r"""As ``$\frac$``, which ended a run when its page was drawn."""
    names = [r"$\frac$", "a b^c"]
    drawn = figures.confusion_plot([[1, 2], [3, 4]], names, r"$\alpha$")
    assert all(f">{name}<" in drawn for name in (*names, r"$\alpha$"))
    image = torch.zeros(1, 8, 8)
    assert figures.overview([(name, image, image) for name in names]).startswith(b"\x89PNG")
    panels = [figures.Panel(r"$\frac$", image)]
    assert figures.picture_grid([(names[0], panels)]).startswith(b"\x89PNG")
