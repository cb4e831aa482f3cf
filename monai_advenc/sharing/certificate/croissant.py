# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Describe a data set in Croissant 1.1 with the terms of responsible AI (RAI 1.0), which catalogs of data sets read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from monai_advenc.data.manifest import MANIFEST_NAME
from monai_advenc.files.atomic import sha256_of

_CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_USES: Final = (
    "Looking at the images: discussion, second opinions, teaching. Networks should not be trained on them: they are "
    "misled to the degree that was measured."
)

_LIMITS: Final = (
    "The perturbation is neither encryption in the sense of cryptography nor de-identification nor access control. "
    "Recipients who work at it can weaken it; the attackers that were run, and those that were not, are in the "
    "certificate."
)


def croissant_of(folder: Path, statement: dict[str, Any], name: str, license_name: str | None) -> dict[str, Any]:
    """The description of a data set.

    Args:
        folder: The data set.
        statement: What its certificate states.
        name: Its name.
        license_name: Name or address of its license; ``None``: none is stated.
    """
    predicate = statement["predicate"]
    change = predicate["budget"]
    how = (
        "Each image was perturbed so that networks trained on it are misled (Hu et al. 2020, arXiv 2002.03793). PSNR "
        f"{change['psnr_db']['mean']:.1f} dB on average, {change['rms_gray_levels']['mean']:.2f} gray levels of 255."
    )
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": name,
        "description": f"Medical images of the classes {', '.join(predicate['classes'])}, perturbed for sharing. {how}",
        "dateCreated": predicate["created"],
        "version": "1.0.0",
        **({} if license_name is None else {"license": license_name}),
        "rai:dataManipulationProtocol": how,
        "rai:dataLimitations": f"{_LIMITS} {predicate['protection']['statement']}",
        "rai:dataUseCases": _USES,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": MANIFEST_NAME,
                "name": MANIFEST_NAME,
                "description": "Each file with its class and checksum, and the budget of the change.",
                "contentUrl": MANIFEST_NAME,
                "encodingFormat": "application/json",
                "sha256": sha256_of(folder / MANIFEST_NAME),
            }
        ],
    }
