from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from monai_advenc.data.images.folder import ImageFile, ImageFolder
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.ray import RayWorkers, ray_workers
from tests.conftest import tiny_network

CLASSES = ("a", "b", "c")


class CountedCrew:
    """Notes the images of each call instead of computing them."""

    seen: tuple[int, list[int]]

    def __init__(self, *_: object) -> None:
        pass

    def outcomes(self, count: int, calls: Sequence[Sequence[ImageFile]]) -> list[Any]:
        type(self).seen = (count, [len(files) for files in calls])
        return []

    def dismiss(self) -> None:
        pass


@pytest.mark.parametrize(
    ("schedule", "resources", "images", "calls"),
    [
        ("paper", {"CPU": 4}, 40, [4] * 10),
        ("adaptive", {"CPU": 4}, 40, [10] * 4),
        ("adaptive", {"CPU": 2}, 160, [64, 64, 32]),
        ("adaptive", {"CPU": 64}, 20, [4] * 5),
        ("paper", {"CPU": 4, "GPU": 2}, 40, [20, 20]),
        ("adaptive", {"CPU": 4, "GPU": 2}, 40, [20, 20]),
        ("paper", {"CPU": 4, "GPU": 2}, 200, [64, 64, 64, 8]),
    ],
)
def test_every_worker_gets_its_share_before_any_gets_more(
    schedule: str,
    resources: dict[str, int],
    images: int,
    calls: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "0.png").write_bytes(encode_image(torch.rand(1, 32, 32), "png16"))
    files = tuple(ImageFile(f"{number}", tmp_path / "0.png", 0) for number in range(images))
    plan = PerturbationSettings(radius=1, step_size=2, steps=45, schedule=schedule)  # type: ignore[arg-type]  # One of them.
    key = EncryptionKey.draw(CLASSES, plan, combiner="basic", seed=1)
    source, options = ImageFolder(tmp_path, files, CLASSES), EncryptionOptions(formats=("png16",), batch_size=4)
    encryption = ImageEncryption(source, tmp_path / "out", key, tiny_network(num_classes=3), options)
    ray = SimpleNamespace(
        cluster_resources=lambda: resources, remote=lambda _: SimpleNamespace(options=lambda **_: None)
    )
    monkeypatch.setattr(RayWorkers, "require_ray", lambda _: ray)
    monkeypatch.setattr(ray_workers, "connection", lambda *_: nullcontext())
    monkeypatch.setattr(ray_workers, "Crew", CountedCrew)
    assert list(RayWorkers(key=tmp_path / "key.json", base=tmp_path / "base.pt")(encryption, files)) == []
    assert CountedCrew.seen == (min(resources.get("GPU", resources["CPU"]), len(calls)), calls)


def test_a_worker_with_a_gpu_has_its_share_of_the_cores_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0.png").write_bytes(encode_image(torch.rand(1, 32, 32), "png16"))
    files = tuple(ImageFile(f"{number}", tmp_path / "0.png", 0) for number in range(400))
    plan = PerturbationSettings(radius=1, step_size=2, steps=2)
    key = EncryptionKey.draw(CLASSES, plan, combiner="basic", seed=1)
    options = EncryptionOptions(formats=("png16",), batch_size=4)
    encryption = ImageEncryption(ImageFolder(tmp_path, files, CLASSES), tmp_path / "out", key, tiny_network(3), options)
    resources, told = {"CPU": 2.0, "GPU": 2.0}, []

    class OneWorker(CountedCrew):
        def __init__(self, _: object, make_worker: Callable[[], object]) -> None:
            make_worker()

    remote = SimpleNamespace(remote=told.append)
    ray = SimpleNamespace(
        cluster_resources=lambda: resources, remote=lambda _: SimpleNamespace(options=lambda **_: remote)
    )
    monkeypatch.setattr(RayWorkers, "require_ray", lambda _: ray)
    monkeypatch.setattr(ray_workers, "connection", lambda *_: nullcontext())
    monkeypatch.setattr(ray_workers, "Crew", OneWorker)
    monkeypatch.setattr(ray_workers, "available_cores", lambda: 12)
    # Ray on this machine counts one core for each GPU, a cluster all that it has.
    for address, cores, writers in ((None, 2.0, 5), ("auto", 8.0, 3), ("auto", 2.0, 0)):
        resources["CPU"] = cores
        list(RayWorkers(key=tmp_path / "key.json", base=tmp_path / "base.pt", address=address)(encryption, files))
        assert told.pop().writers == writers
    resources["GPU"] = 0.0
    list(RayWorkers(key=tmp_path / "key.json", base=tmp_path / "base.pt")(encryption, files))
    assert told.pop().writers == 0
