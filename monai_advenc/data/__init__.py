# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Images and volumes: find, read, check and write them. Nothing here knows the secret."""
