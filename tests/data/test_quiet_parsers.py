# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What parsers say while a file is read goes nowhere; what others say, and what parsers say later, is heard."""

from __future__ import annotations

import logging
import threading
import warnings

import pytest

from monai_advenc.data.quiet_parsers import quiet_parsers


def test_nothing_is_heard_of_parsers_while_a_file_is_read(caplog: pytest.LogCaptureFixture) -> None:
    with quiet_parsers(), warnings.catch_warnings(record=True) as warned:
        for name in ("pydicom", "nibabel.global"):
            logging.getLogger(name).critical("odd file")
        warnings.warn("odd file", stacklevel=1)
    assert not warned
    assert not caplog.records


def test_also_loggers_that_came_after_the_first_file_are_quiet(caplog: pytest.LogCaptureFixture) -> None:
    with quiet_parsers():
        pass
    late = logging.getLogger("pydicom.a_module_imported_late")
    with quiet_parsers():
        late.critical("odd file")
    assert not caplog.records


def test_parsers_are_heard_again_afterwards_also_after_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="damaged"), quiet_parsers(), quiet_parsers():
        raise ValueError("damaged")
    logging.getLogger("pydicom").warning("said to the user of another library")
    assert [record.message for record in caplog.records] == ["said to the user of another library"]


def test_other_loggers_and_other_threads_are_heard_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    with quiet_parsers():
        logging.getLogger("monai_advenc").warning("ours")
        other = threading.Thread(target=lambda: logging.getLogger("pydicom").warning("of another thread"))
        other.start()
        other.join()
    assert [record.message for record in caplog.records] == ["ours", "of another thread"]


def test_no_level_of_a_logger_changes() -> None:
    logger = logging.getLogger("pydicom")
    before = logger.level
    with quiet_parsers():
        assert logger.level == before
