# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Set the Image Type of a derived DICOM object to what its class allows (PS3.3, C.7.6.1.1.2)."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedMRColorImageStorage,
    EnhancedMRImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
)

from monai_advenc.data.dicom.functional_groups import PER_FRAME, functional_groups

_ALWAYS_PRIMARY: Final = (PositronEmissionTomographyImageStorage, NuclearMedicineImageStorage)
"""Classic classes whose Image Type has PRIMARY as value 2 and nothing else (PS3.3, C.8.9.4.1.1 and C.8.4.9.1.1), as all
enhanced classes have (C.8.16.1.2)."""

_MULTI_FRAME_SECONDARY_CAPTURE: Final = (
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)
"""These may have functional groups and are secondary all the same."""

_ENHANCED_MR: Final = (EnhancedMRImageStorage, EnhancedMRColorImageStorage)

_PULSE_SEQUENCE: Final = (
    *("PulseSequenceName", "MRAcquisitionType", "EchoPulseSequence", "MultipleSpinEcho", "MultiPlanarExcitation"),
    *("PhaseContrast", "VelocityEncodingAcquisitionSequence", "TimeOfFlightContrast", "ArterialSpinLabelingContrast"),
    *("SteadyStatePulseSequence", "EchoPlanarPulseSequence", "SaturationRecovery", "SpectrallySelectedSuppression"),
    *("OversamplingPhase", "GeometryOfKSpaceTraversal", "RectilinearPhaseEncodeReordering"),
    *("SegmentedKSpaceTraversal", "CoverageOfKSpace", "NumberOfKSpaceTrajectories"),
)
"""MR Pulse Sequence (PS3.3, C.8.13.4)."""

_SYNCHRONIZATION: Final = (
    *("CardiacRRIntervalSpecified", "IntervalsAcquired", "IntervalsRejected"),
    *("BulkMotionCompensationTechnique", "BulkMotionSignalSource"),
)
"""Parts of Cardiac and Bulk Motion Synchronization (PS3.3, C.7.6.18)."""


def set_image_type(derived: Dataset, *, reformatted: bool) -> None:
    """Set value 1 to DERIVED and value 2 to SECONDARY, or PRIMARY where the class has no other; keep what follows."""
    of_examination = _value_2(derived)
    if derived.get(PER_FRAME):
        _drop_what_originals_have(derived)
    for home, keyword in [(derived, "ImageType"), *_frame_types(derived)]:
        values = home.get(keyword) or []
        rest = [str(value) for value in ([values] if isinstance(values, str) else values)][2:]
        if reformatted and rest and rest[0] in ("AXIAL", "CORONAL", "SAGITTAL", "OBLIQUE"):
            rest[0] = "REFORMATTED"
        setattr(home, keyword, ["DERIVED", of_examination, *rest])


def _drop_what_originals_have(derived: Dataset) -> None:
    """Take out how the image was acquired, which enhanced objects state if value 1 is ORIGINAL or MIXED.

    The standard allows it in derived images, but validators such as dciodvfy report it there as an error.
    """
    is_mr = derived.get("SOPClassUID") in _ENHANCED_MR
    for keyword in (*_SYNCHRONIZATION, *(_PULSE_SEQUENCE if is_mr else ())):
        derived.pop(keyword, None)


def _value_2(derived: Dataset) -> str:
    """Value 2 of the Image Type of a derived object (PS3.3, C.7.6.1.1.2)."""
    sop_class = derived.get("SOPClassUID")
    is_enhanced = derived.get(PER_FRAME) and sop_class not in _MULTI_FRAME_SECONDARY_CAPTURE
    return "PRIMARY" if is_enhanced or sop_class in _ALWAYS_PRIMARY else "SECONDARY"


def _frame_types(derived: Dataset) -> list[tuple[Dataset, str]]:
    return [
        (item, "FrameType")
        for group in functional_groups(derived)
        for element in group
        if element.VR == "SQ"
        for item in element.value
        if "FrameType" in item
    ]
