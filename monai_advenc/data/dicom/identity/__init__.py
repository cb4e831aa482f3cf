# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Patient identity in DICOM headers: keep, remove or pseudonymize it (PS3.15 Annex E)."""
