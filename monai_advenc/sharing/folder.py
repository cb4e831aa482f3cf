# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Output folder of an encryption: resumable, for one key and one set of options.

During a run, a hidden journal holds one line for each finished image. A killed run leaves finished images, their lines
and perhaps temporary files; the next run with the same key and options removes the temporary files and continues. At
the end the manifest replaces the journal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from monai_advenc.data.manifest import JOURNAL_NAME, MANIFEST_NAME, Budget, Manifest, RunHeader, VolumeManifest
from monai_advenc.data.manifest_records import frame_of
from monai_advenc.data.records import ImageRecord, VolumeRecord
from monai_advenc.errors import OutputError, SettingsError
from monai_advenc.files.atomic import is_writable, remove_temporaries, sha256_of, write_atomically
from monai_advenc.files.folder_lock import FolderLock
from monai_advenc.files.json_lines import append_lines, each_line
from monai_advenc.files.parts import holds_files

Owns = Callable[[str], bool]
"""Returns whether some original given is written to a path in the folder."""

Record = TypeVar("Record", ImageRecord, VolumeRecord)
ManifestOf = TypeVar("ManifestOf", Manifest, VolumeManifest)


@dataclass(frozen=True)
class Kind(Generic[Record, ManifestOf]):
    """What a folder holds: images or volumes.

    Attributes:
        noun: Their name in messages; with an s, the field of their records in the manifest.
        record: Record of each.
        manifest: Manifest of all.
    """

    noun: str
    record: type[Record]
    manifest: type[ManifestOf]

    def records_in(self, manifest: ManifestOf) -> tuple[Record, ...]:
        """The records that a manifest lists."""
        records: tuple[Record, ...] = getattr(manifest, f"{self.noun}s")
        return records

    def manifest_of(self, header: RunHeader, records: tuple[Record, ...]) -> ManifestOf:
        """Make the manifest of finished images or volumes, with their budget."""
        content = {"header": header, "budget": budget_of(header.norm, records), f"{self.noun}s": records}
        return self.manifest.model_validate(content)


IMAGES = Kind("image", ImageRecord, Manifest)

VOLUMES = Kind("volume", VolumeRecord, VolumeManifest)


def budget_of(norm: str, records: Iterable[ImageRecord | VolumeRecord]) -> Budget:
    """Distances of images, or of the encrypted slices of volumes, from their originals."""
    return Budget.of(norm, [each for record in records for each in record.measured])


def require_empty(folder: Path) -> None:
    """Raise :class:`OutputError` if a folder holds files."""
    if holds_files(folder):
        raise OutputError(f"{folder} is not empty and not an unfinished encryption; choose another --out")


def require_begun_with(folder: Path, key_id: str) -> None:
    """Raise :class:`OutputError` if a folder was begun with another key; before any long work.

    A damaged folder, and one in which nothing was encrypted yet, is left to :class:`EncryptedFolder`.
    """
    found = (begun_header(folder) or {}).get("key_id")
    if isinstance(found, str) and found != key_id:
        raise _begun_with_another_key(folder, found, key_id)


def begun_header(folder: Path) -> dict[str, Any] | None:
    """Header of the run that a folder belongs to; ``None`` if nothing was encrypted yet, or the folder is damaged."""
    found: Any = None
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        if (folder / MANIFEST_NAME).is_file():
            found = frame_of(folder / MANIFEST_NAME)["header"]
        elif (folder / JOURNAL_NAME).is_file():
            header, *records = islice(each_line(folder / JOURNAL_NAME), 2)
            found = json.loads(header) if records else None
    return found if isinstance(found, dict) else None


def _begun_with_another_key(folder: Path, found: str, key_id: str) -> OutputError:
    return OutputError(
        f"{folder} was begun with another key ({found}, not {key_id}); give that key with --key, or choose another "
        "--out"
    )


class EncryptedFolder(Generic[Record, ManifestOf]):
    """The output folder of one encryption.

    Args:
        folder: Folder to write into; made if it does not exist.
        header: Key id and options of this run.
        kind: Whether it holds images or volumes.
        hides_area: As of :meth:`~monai_advenc.data.records.ImageRecord.shared`.

    Attributes:
        records: Records of this and earlier runs, by id.

    Raises:
        OutputError: The folder holds something else, or belongs to a run with another key, network or options.
    """

    def __init__(
        self, folder: Path, header: RunHeader, kind: Kind[Record, ManifestOf], *, hides_area: bool = False
    ) -> None:
        self.folder, self.hides_area = folder, hides_area
        self.header = header
        self.kind: Kind[Record, ManifestOf] = kind
        self.records: dict[str, Record] = {}
        self._damaged: set[str] = set()
        self._interrupted = False
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; choose a folder for --out")
        if not is_writable(folder):
            raise OutputError(f"{folder} is read-only; choose another --out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Lock before reading anything: another run could change it meanwhile.
            self._lock = FolderLock(folder)
            try:
                self._open()
            except BaseException:
                self._lock.release()
                raise
        except OSError as error:
            raise OutputError(f"cannot write into {folder}: {error.strerror}; choose another --out") from None

    def _open(self) -> None:
        journal, manifest = self.folder / JOURNAL_NAME, self.folder / MANIFEST_NAME
        # Also if the killed run had written nothing so far: where workers outlive it, they may still write.
        self._interrupted = journal.exists()
        if manifest.exists():
            finished = self.kind.manifest.load(self.folder)
            # A later software version may add images to a finished data set, but not to an unfinished one.
            self._require_same_run(finished.header.model_copy(update={"software": self.header.software}))
            self.records = {record.id: record for record in self.kind.records_in(finished)}
        is_bound = self._interrupted and self._read_journal(journal)
        if not (self._interrupted or manifest.exists()):
            require_empty(self.folder)
        remove_temporaries(self.folder)
        if not is_bound:
            write_atomically(journal, (self.header.model_dump_json() + "\n").encode(), overwrite=True)
        self.forget([id_ for id_, record in self.records.items() if not self._is_intact(record)])

    def forget(self, ids: Iterable[str]) -> None:
        """Drop the records of images or volumes whose files are to be written again."""
        for id_ in ids:
            self._damaged |= {file.path for file in self.records.pop(id_).written}

    def _read_journal(self, journal: Path) -> bool:
        """Take over the records of a killed run: whether its options bind this one."""
        # A killed run may leave half a line at the end; its image is encrypted again.
        try:
            lines = each_line(journal)
            found = RunHeader.model_validate_json(next(lines, ""))
            recorded = {record.id: record for record in map(self.kind.record.from_json, lines)}
            nothing = not recorded and not self.records and not any(self._present())
            if nothing and found.classes == self.header.classes:
                return False  # Options of a run that wrote nothing bind nobody.
            self._require_same_run(found)
            self.records |= recorded
            return True
        except (ValueError, ValidationError, SettingsError):
            raise OutputError(f"{journal} is damaged; move {self.folder} away and start again") from None

    def _require_same_run(self, found: RunHeader) -> None:
        if found.key_id != self.header.key_id:
            raise _begun_with_another_key(self.folder, found.key_id, self.header.key_id)
        if found != self.header:
            raise OutputError(
                f"{self.folder} was begun with another base network, other options, or other software versions; "
                "run it as before, or choose another --out"
            )

    def _is_intact(self, record: Record) -> bool:
        paths = [(self.folder / file.path, file.sha256) for file in record.written]
        return all(path.is_file() and sha256_of(path) == checksum for path, checksum in paths)

    def require_known_files(self, owns: Owns) -> None:
        """Raise if class folders are links, or hold files that no run wrote for one of the originals given.

        A killed run leaves files without a record. Those of originals given are written again; the originals of others
        may have been withdrawn, so their files must not be shared.

        Raises:
            OutputError: There are such links or files; nothing is changed.
        """
        for name in self.header.classes:
            if (self.folder / name).is_symlink():
                raise OutputError(
                    f"{self.folder / name} is a link; expected a folder: remove it or choose another --out"
                )
        intact = {file.path for record in self.records.values() for file in record.written}
        strangers = [
            path
            for path in self._present()
            if path not in intact and not (owns(path) and (self._interrupted or path in self._damaged))
        ]
        if strangers:
            raise OutputError(
                f"{self.folder} holds {len(strangers)} file(s) of none of the originals given, such as "
                f"{strangers[0]}; delete or move them (a killed run may have left them), or give all originals"
            )

    def _present(self) -> Iterator[str]:
        """Paths of the files in the class folders, as in the records; without hidden files."""
        for name in self.header.classes:
            for path in sorted((self.folder / name).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    yield path.relative_to(self.folder).as_posix()

    def add(self, records: Iterable[Record]) -> None:
        """Record finished images or volumes; their files must be in place.

        Raises:
            OutputError: The disk refuses.
        """
        records = list(records)
        self.records |= {record.id: record for record in records}
        # The images are on disk. A line lost in a power cut costs one image; waiting for each line would cost GPU time.
        lines = [record.shared(hides_area=self.hides_area).to_json() for record in records]
        append_lines(self.folder / JOURNAL_NAME, lines, wait_for_disk=False)

    def finish(self, ids: Iterable[str], owns: Owns) -> ManifestOf:
        """Write the manifest of the images or volumes ``ids``, in this order, and delete the journal.

        Files of failed ones, from this run or a killed one, are deleted.
        """
        records = tuple(self.records[id_] for id_ in ids if id_ in self.records)
        if not records:
            raise OutputError(f"nothing was encrypted into {self.folder}; see the messages above")
        kept = {file.path for record in records for file in record.written}
        for path in [path for path in self._present() if path not in kept and owns(path)]:
            (self.folder / path).unlink()
            for above in list((self.folder / path).parents)[: path.count("/")]:
                with suppress(OSError):  # It holds others.
                    above.rmdir()
        manifest = self.kind.manifest_of(self.header, records)
        manifest.save(self.folder, hides_area=self.hides_area)
        (self.folder / JOURNAL_NAME).unlink(missing_ok=True)
        remove_temporaries(self.folder)
        return manifest

    def close(self) -> None:
        """Release the folder."""
        self._lock.release()
