# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Commands of the repository: experiments, and the figures of the documentation."""
