# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolutions with constant weights, faster forward and backward on a CPU.

Perturbing computes gradients of pixels only, hundreds of times with the same weights. Therefore everything that depends
only on the weights is computed once: their memory layout for oneDNN, the mirrored weights of the backward pass, and
Winograd transforms where they are faster. Sums and ReLU after a convolution are fused into it. The results equal those
of :class:`torch.nn.Conv2d` and :class:`torch.nn.ReLU` up to rounding.
"""
