"""Everything the product writes, from fixed seeds, as digests: ``python tests/integration/fixed_bytes.py FOLDER``.

The script names each option that it uses and goes through what stays valid for users (commands, bundles, names of the
package's root), so it runs on any version and its digests can be compared from one commit to another. What a later
version may change without changing a pixel is left out: version strings, the word for a schedule, the report, distances
over the pixels that may change, where the change lies, what a base network was trained on.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import torch
from pydicom.uid import MRImageStorage

REPOSITORY = Path(__file__).resolve().parents[2]
CLASSES = "chordoma,craniopharyngioma,meningioma,pituitary_adenoma,schwannoma"
SLICING = {"plane": "axial", "size": 64, "fit": "pad-or-crop"}
COMPUTING = {"workers": 2, "precision": "fp32", "device": "cpu"}
VERSIONS = re.compile(rb"monai-advenc \d+(\.\w+)*")
SOFTWARE = re.compile(rb'"00181020": \{[^}]*\}')
"""Software Versions, of a contributing equipment."""

NOT_PIXELS = ("software", "schedule")


def environment() -> dict[str, str]:
    """What may decide the last bit of a result: kind of processor and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    vendor = re.search(r"vendor_id\s*: (\w+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    can = [torch.backends.cpu.get_cpu_capability()]
    can += [
        name
        for name, has in (("VNNI", torch.cpu._is_vnni_supported), ("AMX", torch.cpu._is_amx_tile_supported))
        if has()
    ]
    processor = " ".join([platform.machine(), *([vendor[1]] if vendor else []), *can])
    packages = ("torch", "monai", "numpy", "scipy", "scikit-image", "nibabel", "pydicom", "pillow")
    return {"processor": processor, "python": platform.python_version(), **{name: version(name) for name in packages}}


def _drop_mark(key: Path) -> None:
    """Make a key as versions drew it that knew no marks: its bytes must stay."""
    values = json.loads(key.read_text(encoding="utf-8"))
    values.pop("mark", None)
    key.write_text(json.dumps(values), encoding="utf-8")


def run(*words: object, **options: Any) -> None:
    """Run a command of the product with options by name; a list is an option that is given several times."""
    line = [sys.executable, "-m", *map(str, words)]
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            switch = "--" + name.replace("_", "-")
            line += [switch] if each is True else [switch, str(each)]
    # Base networks of one or two epochs have learned little, which is enough for bytes.
    insist = {"MONAI_ADVENC_INSIST": "1"}
    variables = {**os.environ, **insist, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(line, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(line)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")


def advenc(*words: object, **options: Any) -> None:
    run("monai_advenc", *words, **options)


def bundle(name: str, config: str, **options: Any) -> None:
    root = REPOSITORY / "bundles" / name
    run(
        "monai.bundle", "run", bundle_root=root, config_file=root / "configs" / f"{config}.yaml", **{
            key.replace("__", "::"): value for key, value in options.items()
        }
    )  # fmt: skip


def write_dicom_series(volume: Path, folder: Path) -> None:
    """The slices of a NIfTI volume as a DICOM series of a patient."""
    image = nibabel.load(volume)
    to_patient = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine  # DICOM's axes point left and back.
    spacing = np.linalg.norm(to_patient[:3, :3], axis=0)
    axes = to_patient[:3, :3] / spacing
    voxels = np.asarray(image.dataobj)
    stored = np.round(voxels / max(float(voxels.max()), 1e-9) * 1000).astype(np.uint16)
    folder.mkdir(parents=True)
    prefix = "1.2.826.0.1.3680043.8.498." + str(int(hashlib.sha256(folder.name.encode()).hexdigest()[:12], 16))
    for index in range(stored.shape[2]):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"{prefix}.3.{index + 1}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{prefix}.1", f"{prefix}.2"
        dataset.FrameOfReferenceUID = f"{prefix}.4"
        dataset.PatientName, dataset.PatientID, dataset.Modality = "Doe^Jane", f"4711-{folder.name}", "MR"
        dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20200102"
        dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "030405"
        dataset.PatientBirthDate, dataset.PatientSex, dataset.StudyID = "19500102", "F", "1"
        dataset.ReferringPhysicianName, dataset.AccessionNumber, dataset.Manufacturer = "Roe^Ann", "99", "Maker"
        dataset.SeriesNumber, dataset.InstanceNumber = 1, index + 1
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        dataset.ImageOrientationPatient = [float(each) for each in axes[:, :2].T.flatten()]
        dataset.ImagePositionPatient = [float(each) for each in (to_patient @ [0, 0, index, 1])[:3]]
        dataset.PixelSpacing = [float(spacing[1]), float(spacing[0])]
        dataset.SliceThickness = float(spacing[2])
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows, dataset.Columns = stored.shape[1], stored.shape[0]
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.PixelData = np.ascontiguousarray(stored[:, :, index].T).tobytes()
        dataset.save_as(folder / f"{index:03}.dcm", enforce_file_format=True)


def make(work: Path) -> dict[str, Path]:
    """Run everything; the folders whose content is compared, by name."""
    volumes, slices, base = work / "volumes", work / "slices", work / "base.pt"
    advenc("phantoms", volumes, count=20, seed=3, difficulty="demo")
    advenc("slice", volumes, out=slices, format="nifti", **SLICING, workers=2)
    advenc(
        "train-base", slices, out=base, network="resnet_small", epochs=2, validation=0.1, seed=5, device="cpu",
        no_tracking=True,
    )  # fmt: skip
    made = {"volumes": volumes, "slices": slices, "base": base}
    few = work / "few"
    for label in CLASSES.split(","):
        (few / label).mkdir(parents=True)
        for file in sorted((slices / label).iterdir())[:8]:  # Four slices, each with its mask.
            (few / label / file.name).write_bytes(file.read_bytes())
    for schedule, profile, steps, step_size in (
        ("paper", "default", 6, 0.5),
        ("paper", "paper-basic", 6, 0.5),
        ("paper", "paper-mixup-concat", 6, 0.5),
        ("fast", "default", 5, 4.0),
        ("fast", "paper-concat", 5, 4.0),
        ("adaptive", "paper-concat", 18, 4.0),
    ):
        name = f"{schedule} {profile}"
        key = work / f"key {name}.json"
        advenc(
            "keygen", key, classes=CLASSES, profile=profile, radius=2, radius_at=64, schedule=schedule, steps=steps,
            step_size=step_size, recipient="ward 3", key_seed=11,
        )  # fmt: skip
        _drop_mark(key)
        made[name] = work / f"encrypted {name}"
        advenc("encrypt", few, out=made[name], key=key, base=base, format=["nifti", "png16"], region="all", **COMPUTING)
    wide = work / "wide.pt"  # Eight bits are for wide convolutions.
    advenc(
        "train-base", slices, out=wide, network="resnet18", epochs=1, validation=0.1, seed=5, device="cpu",
        no_tracking=True,
    )  # fmt: skip
    made |= make_fast(work, few, base, "bf16", 61) | make_fast(work, few, wide, "int8", 16)
    key = work / "key paper default.json"
    made["png8 body"] = work / "png8 body"
    eight_bit = {"format": "png8", "region": "body", "full_radius": True, "size": 48}
    advenc("encrypt", few, out=made["png8 body"], key=key, base=base, **eight_bit, **COMPUTING)
    made["shared"] = work / "shared"
    advenc(
        "slice-and-encrypt", volumes, out=made["shared"], private=work / "private", format=["nifti", "png16"],
        region="all", **SLICING, profile="default", radius=2, radius_at=64, schedule="paper", steps=4, step_size=1,
        key_seed=12, network="resnet_small", epochs=1, seed=6, no_evaluate=True, **COMPUTING,
    )  # fmt: skip
    made |= make_volumes(work, volumes, key, base)
    made |= make_bundles(work, few, key, base)
    made["transforms"] = make_transforms(work)
    return made


def make_fast(work: Path, images: Path, base: Path, precision: str, steps: int) -> dict[str, Path]:
    """Encrypted in faster arithmetic; nothing where the processor has none."""
    key, out = work / f"key {precision}.json", work / f"encrypted {precision}"
    advenc(
        "keygen", key, classes=CLASSES, profile="paper-basic", radius=2, radius_at=64, schedule="paper", steps=steps,
        step_size=0.2, key_seed=13,
    )  # fmt: skip
    try:
        computing = {**COMPUTING, "precision": precision}
        advenc(
            "encrypt", images, out=out, key=key, base=base, format="nifti", region="body", full_radius=True, **computing
        )
    except RuntimeError as refusal:
        if "takes a CPU that adds products of bytes" not in str(refusal):
            raise
        return {}
    return {precision: out}


def make_volumes(work: Path, volumes: Path, key: Path, base: Path) -> dict[str, Path]:
    """Whole volumes, NIfTI and DICOM, and slices in DICOM."""
    nifti, dicom = work / "nifti cases", work / "dicom cases"
    for case in sorted(path for path in volumes.glob("*/*") if path.is_dir())[::20]:
        there = nifti / case.parent.name / case.name
        there.mkdir(parents=True)
        for name in ("image.nii.gz", "seg.nii.gz"):
            (there / name).write_bytes((case / name).read_bytes())
        write_dicom_series(case / "image.nii.gz", dicom / case.parent.name / case.name / "series")
        (dicom / case.parent.name / case.name / "seg.nii.gz").write_bytes((case / "seg.nii.gz").read_bytes())
    made = {"volumes nifti": work / "volumes nifti", "volumes dicom": work / "volumes dicom"}
    common = {"key": key, "base": base, "slices": "tumor", "region": "all", **COMPUTING}
    advenc("encrypt-volume", nifti, out=made["volumes nifti"], plane="axial", **common)
    advenc(
        "encrypt-volume", dicom, out=made["volumes dicom"], identity="pseudonym", private=work / "volumes-private",
        **common,
    )  # fmt: skip
    made["slices dicom"] = work / "slices dicom"
    advenc(
        "slice-and-encrypt", dicom, out=made["slices dicom"], private=work / "dicom-private", format="dicom",
        identity="remove", key=key, base=base, plane="axial", size=0, no_evaluate=True, **COMPUTING,
    )  # fmt: skip
    return made


def make_bundles(work: Path, images: Path, key: Path, base: Path) -> dict[str, Path]:
    """The three bundles, one epoch each."""
    made = {name: work / f"bundle {name}" for name in ("base", "encryption", "victim")}
    training = {
        "image_size": 64, "network": "resnet_small", "epochs": 1, "workers": 0, "seed": 4, "batch_size": 10,
        "learning_rate": 0.05, "device": "$torch.device('cpu')",
    }  # fmt: skip
    bundle("brain_tumor_base", "train", dataset_dir=images, output_dir=made["base"], **training)
    bundle(
        "adversarial_encryption", "inference", dataset_dir=images, output_dir=made["encryption"], encryption_key=key,
        base=base, batch_size=4, device="$torch.device('cpu')", insist="true",
    )  # fmt: skip
    folders = {"dataset_dir": images, "originals_dir": images, "output_dir": made["victim"]}
    bundle("brain_tumor_victim", "train", **folders, **training)
    return {f"bundle {name}": path for name, path in made.items()}


def make_transforms(work: Path) -> Path:
    """MONAI transforms and the batch functions on drawn images."""
    from monai.transforms import Compose

    import monai_advenc as advenc_package

    torch.set_num_threads(1)
    torch.manual_seed(8)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, stride=2, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(128, 5),
    ).eval()  # fmt: skip
    images, labels = torch.rand(6, 1, 32, 32), torch.tensor([0, 1, 2, 3, 4, 0])
    folder = work / "transforms"
    folder.mkdir()
    for combiner in ("horizontal-concat", "mixup-and-concat"):
        settings = advenc_package.PerturbationSettings(
            norm="l2", radius=1.0, step_size=0.3, steps=5, reference_side=32, augmentation=advenc_package.Augmentation()
        )
        key = advenc_package.EncryptionKey.draw(tuple("abcde"), settings, combiner=combiner, seed=2)
        join = advenc_package.ConcatCombined if combiner == "horizontal-concat" else advenc_package.MixupConcatd
        pipeline = Compose(
            [
                advenc_package.AdversarialEncryptd(
                    keys="image", label_key="label", network=network, encryption_key=key, precision="fp32", batch_size=8
                ),
                join(keys="image", encryption_key=key, levels=65535),
            ]
        )
        results = [
            pipeline({"image": image, "label": int(label)})["image"]
            for image, label in zip(images, labels, strict=True)
        ]
        prepared = advenc_package.prepare(network, (1, 32, 32), precision="fp32")
        batch = advenc_package.encrypt_batch(key, prepared, images, labels, levels=65535, batch_size=8)
        np.save(folder / f"{combiner}.npy", np.stack([np.asarray(each) for each in results]))
        np.save(folder / f"{combiner} batch.npy", batch.numpy())
    linf = advenc_package.PerturbationSettings(norm="linf", radius=0.05, step_size=0.02, steps=4)
    regions = torch.zeros(6, 1, 32, 32, dtype=torch.bool)
    regions[..., 8:24, 8:24] = True
    np.save(folder / "linf.npy", advenc_package.perturb(network, images, labels.roll(1), linf, regions=regions).numpy())
    return folder


def digest_of(place: Path) -> str:
    """Digest of a file, or of all files below a folder with their names."""
    digest, masks = hashlib.sha256(), _masks_of(place)
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        name = path.relative_to(place)
        hidden = any(part.startswith((".", "config_")) for part in name.parts)
        hidden |= name.as_posix() in masks
        if path.is_file() and not hidden and path.suffix not in (".html", ".db", ".log"):
            digest.update(name.as_posix().encode() + b"\0" + _content(path) + b"\0")
    return digest.hexdigest()[:24]


def _masks_of(place: Path) -> set[str]:
    """The masks in an encrypted data set, which versions before 0.2 did not write; tests of their own read them."""
    if not (place / "manifest.json").is_file():
        return set()
    manifest = json.loads((place / "manifest.json").read_bytes())
    records = manifest.get("images") or manifest["volumes"]
    return {mask["path"] for record in records for mask in record.get("masks", [])}


def _content(path: Path) -> bytes:
    if path.suffix == ".pt":
        weights = torch.load(path, map_location="cpu", weights_only=True)
        for added in ("training_images", "training_kinds"):
            weights.get("notes", {}).pop(added, None)
        return hashlib.sha256(_tensors(weights)).digest()
    if path.suffix == ".dcm":
        dataset = pydicom.dcmread(path)
        text = json.dumps([dataset.file_meta.to_json_dict(), dataset.to_json_dict()], sort_keys=True).encode()
        return SOFTWARE.sub(b"", VERSIONS.sub(b"monai-advenc", text))
    if path.name == "manifest.json":
        manifest = json.loads(path.read_bytes())
        manifest["header"] = {name: each for name, each in manifest["header"].items() if name not in NOT_PIXELS}
        for place in (manifest["budget"], *(manifest.get("images") or manifest["volumes"]), *each_measured(manifest)):
            for added in ("changeable", "energy", "masks"):
                place.pop(added, None)
        text = json.dumps(manifest, sort_keys=True)
        # Checksums of DICOM files, written or cut in between, in which the version stands.
        return re.sub(r'"(sha256|source_tag)": "\w+"', "", text).encode() if '.dcm"' in text else text.encode()
    if path.name == "verdict.json":
        verdict = json.loads(path.read_bytes())
        verdict["verdict_details"].pop("enough", None)  # It was added later.
        return json.dumps(verdict, indent=2, ensure_ascii=False).encode() + b"\n"
    return path.read_bytes()


def each_measured(manifest: Any) -> Iterator[Any]:
    """The images or slices of a manifest that have distances."""
    for record in manifest.get("images") or manifest["volumes"]:
        yield from record.get("slices", [record])


def _tensors(values: Any) -> bytes:
    if isinstance(values, torch.Tensor):
        return values.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    if isinstance(values, dict):
        return b"".join(str(name).encode() + _tensors(each) for name, each in sorted(values.items(), key=str))
    return b""


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    found = {name: digest_of(path) for name, path in make(folder).items()}
    sys.stdout.write(json.dumps({"environment": environment(), "digests": found}, indent=2) + "\n")
