# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What every trace begins and ends with: keys and commitment, and the page about what was found."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from monai_advenc.cli.console import Output
from monai_advenc.errors import OutputError

if TYPE_CHECKING:
    from monai_advenc.evaluation.tracing.commitment import StoredCommitment
    from monai_advenc.evaluation.tracing.recipients import Recipient
    from monai_advenc.evaluation.tracing.result import Trace


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options that every trace has.

    Attributes:
        keys: Folder with the recipients' keys.
        commitment: The file of ``trace commit``, if there is one.
        out: The page.
        insecure_key_permissions: Accept keys that others can read.
        json: Print one JSON object.
    """

    keys: Path
    commitment: Path | None
    out: Path
    insecure_key_permissions: bool
    json: bool

    @property
    def table(self) -> Path:
        """The table of files next to the page."""
        return self.out.with_suffix(".csv")

    def require_free(self, *, table: bool = False) -> None:
        """Refuse, before minutes of work, to overwrite the page or the table of files, or to share them.

        Raises:
            OutputError: One of them is there, or would lie in an encrypted data set.
        """
        from monai_advenc.data.private_folder import require_unshared

        require_unshared(self.out, "--out")
        if table and self.table == self.out:
            raise OutputError(
                f"--out {self.out} is the page, and the table of files next to it is .csv; end it in .html"
            )
        for path in (self.out, *([self.table] if table else [])):
            if os.path.lexists(path):
                raise OutputError(f"{path} exists already and is never overwritten; give another --out")

    def recipients(self) -> tuple[Recipient, ...]:
        """The recipients whose keys there are."""
        from monai_advenc.evaluation.tracing.recipients import load_recipients

        return load_recipients(self.keys, insecure_permissions=self.insecure_key_permissions)

    def stored(self) -> StoredCommitment | None:
        """The commitment, if there is one."""
        from monai_advenc.evaluation.tracing.commitment import load_commitment

        return None if self.commitment is None else load_commitment(self.commitment)


def report(found: Trace, asked: Asked, output: Output) -> None:
    """Write the page about a trace, and the table of its files, and say what was found; never overwrite either.

    Args:
        found: What tracing found.
        asked: Where to write.
        output: The command's output.
    """
    from monai_advenc.evaluation.tracing.file_table import file_table
    from monai_advenc.evaluation.tracing.page import trace_page
    from monai_advenc.files.atomic import write_atomically

    # All content before the first file: half of them would be in the way of the next run.
    contents = {asked.out: trace_page(found).encode()}
    if found.files:
        contents[asked.table] = file_table(found).encode()
    for path, content in contents.items():
        # They accuse people, so they are not for everyone on this machine.
        write_atomically(path, content, mode=0o600)
    output.say(f"{found.title}. {found.sentence}")
    output.say(found.standing.sentence)
    output.say(f"Wrote {asked.out}, which also says what this cannot tell.")
    if found.files:
        output.say(f"Wrote {asked.table}: the original of each file, and how well each recipient's key fits it.")
    table = {"table": str(asked.table)} if found.files else {}
    output.result({"out": str(asked.out), **table, **found.as_dict()})
