# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolutions whose weights never change, faster forward and backward on a CPU.

Perturbing asks for the gradient of pixels alone, and for the same weights hundreds of times. So what depends on the
weights only - the order in memory that the processor's convolution wants, the mirrored weights of the backward pass,
their transforms where Winograd's way is faster - is made once instead of in every step. Sums and ReLU after a
convolution are computed with it. All of it gives what :class:`torch.nn.Conv2d` and :class:`torch.nn.ReLU` give, up to
rounding.
"""
