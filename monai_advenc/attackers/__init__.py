# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Attack an encrypted data set: ``recovery`` guesses the key, the others seek accuracy on originals."""
