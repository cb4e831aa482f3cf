# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A folder to share: encrypt images or volumes into it, resume, verify, keep private what must stay."""
