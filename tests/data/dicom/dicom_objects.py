"""Small complete objects of many classes, which dciodvfy accepts: what scanners send, made from numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from tests.data.dicom.dicom_phantom import item, save, uid as same_uid

FRAMES, SIDE = 3, 16

PATIENT = {"PatientName": "Zschirnt^Jane", "PatientID": "PX-4711", "PatientBirthDate": "19541224", "PatientSex": "F"}


def code(value: str, scheme: str, meaning: str) -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


HEAD = code("69536005", "SCT", "Head")


def _object(sop_class: str, modality: str, stored: Any, **attributes: Any) -> Dataset:
    """What every image has: patient, study, series, equipment, pixels."""
    made = item(**PATIENT, SOPClassUID=sop_class, Modality=modality)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.StudyInstanceUID, made.SeriesInstanceUID = same_uid("study", sop_class), same_uid(sop_class)
    made.StudyDate, made.StudyTime, made.SeriesDate, made.SeriesTime = "20200102", "120000", "20200102", "131500"
    made.AcquisitionDate, made.AcquisitionTime, made.ContentDate, made.ContentTime = (*["20200102", "131500"] * 2,)
    made.StudyID, made.AccessionNumber, made.ReferringPhysicianName = "1", "", ""
    made.SeriesNumber, made.InstanceNumber, made.PatientWeight = 1, 1, "72.5"
    made.Manufacturer, made.ManufacturerModelName, made.SoftwareVersions = "phantoms", "phantom", "1"
    made.DeviceSerialNumber, made.InstitutionName, made.StationName = "4711", "Holzhausen Clinic", "S1"
    made.BodyPartExamined, made.PatientOrientation = "HEAD", ["L", "P"]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = stored.shape[-2:]
    bits = stored.dtype.itemsize * 8
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, min(bits, 12), min(bits, 12) - 1
    made.PixelRepresentation = 0
    made.add_new("PixelData", "OB" if bits == 8 else "OW", stored.tobytes())
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def _pixels(frames: int | None = None, kind: type = np.uint16) -> Any:
    shape = (SIDE, SIDE) if frames is None else (frames, SIDE, SIDE)
    most = 255 if kind is np.uint8 else 4095
    return np.random.default_rng(0).integers(0, most, shape).astype(kind)


def _plane(k: int) -> dict[str, Any]:
    return {
        "ImagePositionPatient": [-8, -8, 2.0 * k],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1, 1],
        "SliceThickness": 2,
        "FrameOfReferenceUID": same_uid("frame"),
        "PositionReferenceIndicator": "",
        "InstanceNumber": k + 1,
    }


def ct(k: int) -> Dataset:
    made = _object(uid.CTImageStorage, "CT", _pixels(), ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], **_plane(k))
    made.KVP, made.AcquisitionNumber, made.PatientPosition = "120", 1, "HFS"
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = -1024, 1, "HU"
    return made


def mr(k: int) -> Dataset:
    made = _object(uid.MRImageStorage, "MR", _pixels(), ImageType=["ORIGINAL", "PRIMARY", "OTHER"], **_plane(k))
    made.ScanningSequence, made.SequenceVariant, made.ScanOptions = "SE", "NONE", ""
    made.MRAcquisitionType, made.EchoTime, made.RepetitionTime, made.EchoTrainLength = "2D", 10, 500, 1
    made.PatientPosition = "HFS"
    return made


def _injection(**attributes: Any) -> Dataset:
    made = item(RadionuclideCodeSequence=[code("77004003", "SCT", "^18^Fluorine")], **attributes)
    made.RadionuclideTotalDose, made.RadionuclideHalfLife, made.RadionuclidePositronFraction = 3.5e8, "6586.2", "0.967"
    made.RadiopharmaceuticalCodeSequence = [code("35321007", "SCT", "Fluorodeoxyglucose F^18^")]
    return made


def pet(k: int) -> Dataset:
    """One slice of an FDG scan, an hour and a quarter after the injection; dates change between them."""
    made = _object(uid.PositronEmissionTomographyImageStorage, "PT", _pixels(), **_plane(k))
    made.ImageType, made.PatientSize = ["ORIGINAL", "PRIMARY"], "1.68"
    made.Units, made.CountsSource, made.SeriesType, made.NumberOfSlices = "BQML", "EMISSION", ["WHOLE BODY", "IMAGE"], 3
    made.CorrectedImage, made.DecayCorrection, made.CollimatorType = ["DECY", "ATTN"], "START", "NONE"
    made.PatientOrientationCodeSequence = [code("102538003", "SCT", "recumbent")]
    made.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = [
        code("40199007", "SCT", "supine"),
    ]
    made.PatientGantryRelationshipCodeSequence = [code("102540008", "SCT", "headfirst")]
    made.RadiopharmaceuticalInformationSequence = [_injection(RadiopharmaceuticalStartTime="120000")]
    made.FrameReferenceTime, made.ActualFrameDuration, made.ImageIndex = 60000 * k, "120000", k + 1
    made.BitsStored, made.HighBit = 16, 15
    made.DecayFactor, made.RescaleIntercept, made.RescaleSlope = "1.01", 0, 0.5 + k
    made.AcquisitionTime = f"13{15 + 2 * k}00"
    return made


def cr(k: int) -> Dataset:
    made = _object(uid.ComputedRadiographyImageStorage, "CR", _pixels(), InstanceNumber=k + 1)
    made.ImageType, made.PhotometricInterpretation = ["ORIGINAL", "PRIMARY"], "MONOCHROME1"
    made.ViewPosition, made.KVP, made.PlateID, made.CassetteID = "AP", "70", "4711", "4711"
    return made


def us(k: int) -> Dataset:
    made = _object(uid.UltrasoundImageStorage, "US", _pixels(kind=np.uint8), InstanceNumber=k + 1)
    made.ImageType, made.LossyImageCompression = ["ORIGINAL", "PRIMARY", "ABDOMINAL", "0001"], "00"
    made.UltrasoundColorDataPresent = 0
    return made


def us_multi_frame(k: int) -> Dataset:
    made = us(k)
    made.SOPClassUID, made.NumberOfFrames = uid.UltrasoundMultiFrameImageStorage, FRAMES
    made.FrameTime, made.FrameIncrementPointer = 40, 0x00181063
    made.PixelData = _pixels(FRAMES, np.uint8).tobytes()
    return made


def dx(k: int) -> Dataset:
    made = _object(uid.DigitalXRayImageStorageForPresentation, "DX", _pixels(), InstanceNumber=k + 1)
    made.ImageType, made.PixelIntensityRelationship, made.PixelIntensityRelationshipSign = (
        ["ORIGINAL", "PRIMARY", ""],
        "LOG",
        -1,
    )
    made.PresentationIntentType, made.DetectorType, made.DetectorID = "FOR PRESENTATION", "DIRECT", "4711"
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType, made.PresentationLUTShape = 0, 1, "US", "IDENTITY"
    made.LossyImageCompression, made.BurnedInAnnotation, made.ImageLaterality = "00", "NO", "U"
    made.AnatomicRegionSequence, made.AcquisitionContextSequence = [HEAD], []
    made.ImagerPixelSpacing, made.WindowCenter, made.WindowWidth = [0.2, 0.2], 2048, 4096
    made.PatientOrientation = ["L", "F"]
    made.ViewCodeSequence, made.PositionerType = [code("399348003", "SCT", "antero-posterior")], "NONE"
    return made


def nm(k: int) -> Dataset:
    made = _object(uid.NuclearMedicineImageStorage, "NM", _pixels(1), InstanceNumber=k + 1, NumberOfFrames=1)
    made.ImageType, made.BitsStored, made.HighBit = ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"], 16, 15
    made.FrameIncrementPointer = [0x00540010, 0x00540020]
    made.EnergyWindowVector, made.NumberOfEnergyWindows, made.DetectorVector, made.NumberOfDetectors = 1, 1, 1, 1
    made.PixelSpacing, made.CountsAccumulated, made.ActualFrameDuration = [2, 2], 1000, "120000"
    made.EnergyWindowInformationSequence = [item()]
    made.RadiopharmaceuticalInformationSequence = [
        item(RadionuclideCodeSequence=[code("72454007", "SCT", "^99m^Technetium")])
    ]
    made.DetectorInformationSequence = [
        item(CollimatorType="PARA", ImagePositionPatient="", ImageOrientationPatient="")
    ]
    made.PatientOrientationCodeSequence = [code("102538003", "SCT", "recumbent")]
    made.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = [
        code("40199007", "SCT", "supine"),
    ]
    made.PatientGantryRelationshipCodeSequence = [code("102540008", "SCT", "headfirst")]
    return made


def _enhanced(sop_class: str, modality: str, shared: Dataset, frame_group: str, kind: list[str]) -> Dataset:
    """A multi-frame object with functional groups."""
    made = _object(sop_class, modality, _pixels(FRAMES), NumberOfFrames=FRAMES, ImageType=kind)
    made.InstanceNumber, made.FrameOfReferenceUID, made.PositionReferenceIndicator = 1, same_uid("frame"), ""
    made.AcquisitionDateTime, made.AcquisitionDuration, made.AcquisitionNumber = "20200102131500", 60.0, 1
    made.AcquisitionContextSequence, made.PresentationLUTShape, made.LossyImageCompression = [], "IDENTITY", "00"
    made.BurnedInAnnotation, made.PatientPosition = "NO", "HFS"
    made.PixelPresentation, made.VolumetricProperties, made.VolumeBasedCalculationTechnique = (
        "MONOCHROME",
        "VOLUME",
        "NONE",
    )
    made.ContentQualification = "RESEARCH"
    organization = same_uid("dimensions")
    made.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    made.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=0x00200032,
            FunctionalGroupPointer=0x00209113,
        )
    ]
    shared.PlaneOrientationSequence = [item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    shared.PixelMeasuresSequence = [item(PixelSpacing=[1, 1], SliceThickness=2, SpacingBetweenSlices=2)]
    shared.FrameAnatomySequence = [item(FrameLaterality="U", AnatomicRegionSequence=[HEAD])]
    shared.FrameVOILUTSequence = [item(WindowCenter=2048, WindowWidth=4096)]
    frame = item(FrameType=kind, PixelPresentation="MONOCHROME", VolumetricProperties="VOLUME")
    frame.VolumeBasedCalculationTechnique = "NONE"
    setattr(shared, frame_group, [frame])
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[-8, -8, 2.0 * k])],
            FrameContentSequence=[
                item(
                    FrameAcquisitionNumber=1,
                    FrameReferenceDateTime=f"2020010213{15 + k}00",
                    FrameAcquisitionDateTime=f"2020010213{15 + k}00",
                    FrameAcquisitionDuration=60000.0,
                    DimensionIndexValues=[k + 1],
                    TemporalPositionIndex=1,
                    StackID="1",
                    InStackPositionNumber=k + 1,
                )
            ],
        )
        for k in range(FRAMES)
    ]
    return made


def enhanced_mr(k: int) -> Dataset:
    shared = item(PixelValueTransformationSequence=[item(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")])
    kind = ["ORIGINAL", "PRIMARY", "ANGIO", "NONE"]
    made = _enhanced(uid.EnhancedMRImageStorage, "MR", shared, "MRImageFrameTypeSequence", kind)
    says = {"ComplexImageComponent": "MAGNITUDE", "AcquisitionContrast": "T1"}
    for home in (made, shared.MRImageFrameTypeSequence[0]):
        for keyword, value in says.items():
            setattr(home, keyword, value)
    made.MagneticFieldStrength, made.ResonantNucleus, made.KSpaceFiltering = 3.0, "1H", "NONE"
    made.ApplicableSafetyStandardAgency, made.PulseSequenceName, made.MRAcquisitionType = "IEC", "SE", "2D"
    made.EchoPulseSequence, made.MultipleSpinEcho, made.MultiPlanarExcitation = "SPIN", "NO", "NO"
    made.PhaseContrast, made.TimeOfFlightContrast = "NO", "NO"
    made.SteadyStatePulseSequence, made.EchoPlanarPulseSequence, made.SaturationRecovery = "NONE", "NO", "NO"
    made.SpectrallySelectedSuppression, made.OversamplingPhase = "NONE", "NONE"
    made.GeometryOfKSpaceTraversal, made.RectilinearPhaseEncodeReordering = "RECTILINEAR", "LINEAR"
    made.SegmentedKSpaceTraversal, made.NumberOfKSpaceTrajectories = "SINGLE", 1
    shared.MRTimingAndRelatedParametersSequence = [
        item(
            RepetitionTime=500,
            FlipAngle=90,
            EchoTrainLength=1,
            RFEchoTrainLength=1,
            GradientEchoTrainLength=0,
            GradientOutputType="DB_DT",
            GradientOutput=10.0,
            OperatingModeSequence=[item(OperatingModeType="STATIC FIELD", OperatingMode="IEC_NORMAL")],
            SpecificAbsorptionRateSequence=[
                item(SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=1.0)
            ],
        )
    ]
    shared.MRFOVGeometrySequence = [
        item(
            InPlanePhaseEncodingDirection="ROW",
            MRAcquisitionFrequencyEncodingSteps=SIDE,
            MRAcquisitionPhaseEncodingStepsInPlane=SIDE,
            PercentSampling=100,
            PercentPhaseFieldOfView=100,
        )
    ]
    shared.MREchoSequence = [item(EffectiveEchoTime=10.0)]
    shared.MRModifierSequence = [
        item(
            InversionRecovery="NO",
            FlowCompensation="NONE",
            Spoiling="NONE",
            T2Preparation="NO",
            SpectrallySelectedExcitation="NONE",
            SpatialPresaturation="NONE",
            PartialFourier="NO",
            ParallelAcquisition="NO",
        )
    ]
    shared.MRImagingModifierSequence = [
        item(
            MagnetizationTransfer="NONE",
            BloodSignalNulling="NO",
            Tagging="NONE",
            TransmitterFrequency=127.7,
            PixelBandwidth=200,
        )
    ]
    shared.MRReceiveCoilSequence = [
        item(
            ReceiveCoilName="HEAD",
            ReceiveCoilManufacturerName="",
            ReceiveCoilType="VOLUME",
            QuadratureReceiveCoil="YES",
        )
    ]
    shared.MRTransmitCoilSequence = [
        item(TransmitCoilName="BODY", TransmitCoilManufacturerName="", TransmitCoilType="BODY")
    ]
    shared.MRAveragesSequence = [item(NumberOfAverages=1)]
    return made


def enhanced_pet(k: int) -> Dataset:
    shared = item(PixelValueTransformationSequence=[item(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")])
    kind = ["ORIGINAL", "PRIMARY", "WHOLE_BODY", "NONE"]
    made = _enhanced(uid.EnhancedPETImageStorage, "PT", shared, "PETFrameTypeSequence", kind)
    made.ImageType = kind
    made.RadiopharmaceuticalInformationSequence = [
        _injection(
            RadiopharmaceuticalAgentNumber=1,
            RadiopharmaceuticalStartDateTime="20200102120000",
            AdministrationRouteCodeSequence=[code("47625008", "SCT", "Intravenous route")],
        )
    ]
    made.DecayCorrected, made.DecayCorrectionDateTime = "YES", "20200102131500"
    made.BitsStored, made.HighBit, made.CountsSource = 16, 15, "EMISSION"
    for what in ("Attenuation", "Scatter", "DeadTime", "GantryMotion", "PatientMotion", "CountLossNormalization"):
        setattr(made, f"{what}Corrected", "NO")
    made.RandomsCorrected, made.NonUniformRadialSamplingCorrected, made.SensitivityCalibrated = "NO", "NO", "YES"
    made.DetectorNormalizationCorrection, made.TableMotion, made.TimeOfFlightInformationUsed = "NO", "STATIC", "FALSE"
    made.AcquisitionStartCondition, made.AcquisitionTerminationCondition = "MANU", "TIME"
    made.TypeOfDetectorMotion, made.CollimatorType, made.CoincidenceWindowWidth = "STATIONARY", "NONE", 4.0
    made.TerminationTimeThreshold, made.DetectorGeometry = 60.0, "CYLINDRICAL_RING"
    made.TransverseDetectorSeparation, made.AxialDetectorDimension = 4.0, 4.0
    made.EnergyWindowRangeSequence = [item(EnergyWindowLowerLimit=425, EnergyWindowUpperLimit=650)]
    made.ViewCodeSequence = [code("62824007", "SCT", "Transverse")]
    shared.RadiopharmaceuticalUsageSequence = [item(RadiopharmaceuticalAgentNumber=1)]
    shared.PETFrameAcquisitionSequence = [item(TableHeight=1.0, GantryDetectorTilt=0.0, GantryDetectorSlew=0.0)]
    shared.PETFrameAcquisitionSequence[0].DataCollectionDiameter = 500.0
    shared.PETDetectorMotionDetailsSequence = [item(RotationDirection="CW", RevolutionTime=1.0)]
    shared.PETPositionSequence = [
        item(TablePosition=1.0, DataCollectionCenterPatient=[0, 0, 0], ReconstructionTargetCenterPatient=[0, 0, 0])
    ]
    shared.PETFrameCorrectionFactorsSequence = [item(PrimaryPromptsCountsAccumulated=1, SliceSensitivityFactor=1.0)]
    factors = shared.PETFrameCorrectionFactorsSequence[0]
    factors.DecayFactor, factors.ScatterFractionFactor, factors.DeadTimeFactor = 1.0, 0.0, 1.0
    shared.PETReconstructionSequence = [
        item(ReconstructionType="2D", ReconstructionAlgorithm="FILTER_BACK_PROJ", IterativeReconstructionMethod="NO")
    ]
    shared.PETReconstructionSequence[0].ReconstructionDiameter = 500.0
    return made


CLASSES: dict[str, Callable[[int], Dataset]] = {
    "CT": ct,
    "MR": mr,
    "PET": pet,
    "CR": cr,
    "US": us,
    "US multi-frame": us_multi_frame,
    "DX": dx,
    "NM": nm,
    "enhanced MR": enhanced_mr,
    "enhanced PET": enhanced_pet,
}
IN_ONE_FILE = ("US multi-frame", "NM", "enhanced MR", "enhanced PET")


def write_object(kind: str, folder: Path, change: Callable[[Dataset], None] = lambda made: None) -> list[Path]:
    """A series of one kind: three files, or one file of several frames."""
    paths = []
    for k in range(1 if kind in IN_ONE_FILE else FRAMES):
        made = CLASSES[kind](k)
        change(made)
        paths.append(save(made, folder / f"{k}.dcm"))
    return paths
