# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Track parameters, metrics and files of a run in MLflow, without logging secrets.

The default store is a local SQLite file. One object logs everything: it accepts only plain numbers and names, and
rejects content with a secret of its keys.
"""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from monai_advenc import __version__
from monai_advenc.encryption.correspondence import ClassCorrespondence
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.secret_encodings import secret_encodings
from monai_advenc.errors import OutputError
from monai_advenc.files.tracking_store import open_store, reaching, sqlite_database
from monai_advenc.progress import Value

EXPERIMENT = "monai-advenc"
STORE_NAME = "mlruns.db"
DESCRIPTION = (
    "Accuracies are shares from 0 to 1, of the last epoch; `_peak` and `.best` are those of the best. `orig` is "
    "accuracy on real images, `enc` on encrypted ones. The pages with pictures show originals and "
    "stay in the folder of the run."
)
"""What MLflow shows next to a run."""


class SecretInTrackingError(RuntimeError):
    """A bug in this package: a secret was about to be logged. The message never contains it."""


class MlflowTracker:
    """One MLflow run.

    Args:
        store: Tracking URI of a server or database, or the file of a SQLite database.
        run_name: Name of the run, made unique.
        artifacts: Folder for files if the store is local.
        keys: Keys whose secrets must not be logged.

    Raises:
        OutputError: The store cannot be reached or written.
    """

    def __init__(
        self, store: str | Path, run_name: str, *, artifacts: Path | None = None, keys: Sequence[EncryptionKey] = ()
    ) -> None:
        self._secrets = frozenset(form for key in keys for form in secret_encodings(key))
        self._store = store
        self._client = open_store(store)
        with reaching(store):
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            self._experiment_id = (
                experiment.experiment_id
                if experiment
                else self._client.create_experiment(
                    EXPERIMENT, artifact_location=artifacts.absolute().as_uri() if artifacts else None
                )
            )
            self._run_id = self._start(run_name)

    def _start(self, run_name: str, parent: str | None = None) -> str:
        moment = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
        # Tools that group runs by name would merge two runs of one name.
        name = f"{run_name}-{moment}-{secrets.token_hex(2)}"
        tags = {"monai-advenc": __version__}
        tags |= {"mlflow.parentRunId": parent} if parent else {"command": run_name, "mlflow.note.content": DESCRIPTION}
        run_id: str = self._client.create_run(self._experiment_id, run_name=name, tags=tags).info.run_id
        return run_id

    @contextmanager
    def child(self, run_name: str) -> Iterator[MlflowTracker]:
        """Open a child run, which ends with the context."""
        child = copy.copy(self)
        with reaching(self._store):
            child._run_id = self._start(run_name, parent=self._run_id)
        with child:
            yield child

    def log_params(self, params: Mapping[str, Value]) -> None:
        """Log settings, once per run."""
        self._refuse_secrets(params)
        with reaching(self._store):
            for name, value in params.items():
                self._client.log_param(self._run_id, name, value)

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log measurements."""
        self._refuse_secrets(metrics)
        with reaching(self._store):
            for name, value in metrics.items():
                self._client.log_metric(self._run_id, name, value, step=step)

    def log_file(self, path: Path) -> None:
        """Log a copy of a file."""
        self._refuse_bytes(path.read_bytes())
        with reaching(self._store):
            self._client.log_artifact(self._run_id, str(path))

    def close(self, status: str) -> None:
        """End the run as ``FINISHED`` or ``FAILED``; MLflow would continue an open run later."""
        with reaching(self._store):
            self._client.set_terminated(self._run_id, status=status)

    def __enter__(self) -> MlflowTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close("FINISHED" if kind is None else "FAILED")
        except OutputError:
            if kind is None:  # Otherwise the first error is more informative.
                raise

    def _refuse_secrets(self, values: Mapping[str, Any]) -> None:
        for value in values.values():
            if isinstance(value, EncryptionKey | ClassCorrespondence) or not isinstance(value, Value):
                raise SecretInTrackingError(f"a {type(value).__name__} must not be logged; log plain numbers and names")
        self._refuse_bytes(json.dumps(dict(values)).encode())
        self._refuse_bytes(" ".join(str(value) for value in values.values()).encode())

    def _refuse_bytes(self, content: bytes) -> None:
        if any(secret in content for secret in self._secrets):
            raise SecretInTrackingError("part of an encryption key was about to be logged; nothing was logged")


@contextmanager
def track(
    uri: str | None, run_name: str, folder: Path, *, keys: Sequence[EncryptionKey] = ()
) -> Iterator[MlflowTracker]:
    """Open a run in the store at ``uri``, or in a local SQLite store below ``folder``.

    Args:
        uri: Tracking URI; ``None``: ``folder/mlruns.db``. With a new SQLite store, files go to ``mlruns`` next to it.
        run_name: Name of the run.
        folder: Folder of the local store.
        keys: Keys whose secrets must not be logged.

    Raises:
        OutputError: The store cannot be reached or written.
    """
    store = folder / STORE_NAME if uri is None else sqlite_database(uri) or uri
    artifacts = store.parent / "mlruns" if isinstance(store, Path) else None
    with MlflowTracker(store, run_name, artifacts=artifacts, keys=keys) as tracker:
        yield tracker
