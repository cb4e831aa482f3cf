# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks as files."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from torch import nn

from monai_advenc.errors import NetworkError, OutputError
from monai_advenc.networks import get_network, with_standardization
from monai_advenc.networks.training import load_checkpoint, save_checkpoint

CLASSES = ("meningioma", "chordoma", "schwannoma")


def network(seed: int = 0) -> nn.Module:
    return with_standardization(get_network("vgg_small", 3, 1, 32, seed=seed), torch.rand(4, 1, 32, 32)).eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "base.pt"
    save_checkpoint(path, network(), "vgg_small", CLASSES, 1, 32, notes={"accuracy": 0.9})
    return path


def test_a_network_reads_back_as_it_was(tmp_path: Path) -> None:
    original = network(seed=5).to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "base.pt", original, "vgg_small", CLASSES, 1, 32, notes={"seed": 5, "kept": True})
    back = load_checkpoint(tmp_path / "base.pt")
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(back.network(images), original(images))
    assert not back.network.training
    assert (back.name, back.classes, back.in_channels, back.image_size) == ("vgg_small", CLASSES, 1, 32)
    assert back.notes == {"seed": 5, "kept": True}


def test_equal_networks_are_equal_bytes_whatever_their_memory_layout(tmp_path: Path) -> None:
    same = network()
    for name, version in {"a.pt": same, "b.pt": same.to(memory_format=torch.channels_last)}.items():
        save_checkpoint(tmp_path / name, version, "vgg_small", CLASSES, 1, 32)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_a_file_is_not_overwritten_unless_asked(saved: Path) -> None:
    with pytest.raises(OutputError, match="exists"):
        save_checkpoint(saved, network(), "vgg_small", CLASSES, 1, 32)
    save_checkpoint(saved, network(), "vgg_small", CLASSES, 1, 32, overwrite=True)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"none\.pt: No such file"):
        load_checkpoint(tmp_path / "none.pt")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_one_clear_error(saved: Path, share: float) -> None:
    damaged = saved.with_name("damaged.pt")
    content = saved.read_bytes()
    damaged.write_bytes(content[: int(share * len(content))])
    with pytest.raises(NetworkError, match="damaged"):
        load_checkpoint(damaged)


def test_a_foreign_file_is_refused_and_runs_no_code(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "touched"),))

    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Malicious()))
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("pickle.pt", "other.pt", "list.pt"):
        with pytest.raises(NetworkError, match=name):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 2}, "version 1, got 2"),
        ({"name": "vgg99"}, "do not match the network's name"),
        ({"name": "resnet_small"}, "do not match the network's name"),
        ({"classes": ["one", "two"]}, "do not match the network's name"),
        ({"state": {}}, "do not match the network's name"),
        ({"in_channels": "one"}, "do not match the network's name"),
        ({"version": "\x1b[2J"}, r"got '\\x1b\[2J' in"),
        ({"classes": ["one", "two", "three\x1b[2J"]}, "expected class names without control characters in .*base.pt"),
        ({"classes": ["one", "two", "three\nVerdict: protected"]}, "expected class names without control characters"),
        ({"classes": ["one", "two", "\u202eeerht"]}, "expected class names without control characters in .*base.pt"),
    ],
)
def test_content_that_does_not_fit_together_is_refused(saved: Path, change: dict[str, object], complaint: str) -> None:
    content = torch.load(saved, weights_only=True) | change
    torch.save(content, saved)
    with pytest.raises(NetworkError, match=complaint):
        load_checkpoint(saved)


def test_a_network_that_is_not_what_it_is_called_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="do not match the network's name"):
        save_checkpoint(tmp_path / "base.pt", network(), "resnet_small", CLASSES, 1, 32)
    assert not list(tmp_path.iterdir())
