# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Build, serve and score a blinded, randomized reader study: can people still read the encrypted images?

In section 5 of the paper, three doctors saw all originals first. Here each reader sees half of the cases encrypted
first, in an individual random order, and the other half after a washout. The analysis is fixed before the first answer.
"""
