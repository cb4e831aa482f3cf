# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Can people still read the encrypted images? A blinded, randomized reader study: built, served, scored.

Section 5 of the paper asked three doctors, who saw all originals first. Here each reader sees half of the cases
encrypted first, in an order of their own, after a washout the other half, and the analysis is fixed before the first
answer.
"""
