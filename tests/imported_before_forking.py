"""What :mod:`tests.forked_commands` imports once; commands import it when they run, each in a fraction of a second."""

import ignite.engine  # noqa: F401  # This and the following are imported for all processes that are forked later.
import monai.bundle
import monai.engines
import monai.handlers
import monai.transforms  # noqa: F401

import monai_advenc.bundle.items
import monai_advenc.cli.encrypt
import monai_advenc.cli.slices
import monai_advenc.reader_study.serving.server
import monai_advenc.sharing.encrypt_folder  # noqa: F401
