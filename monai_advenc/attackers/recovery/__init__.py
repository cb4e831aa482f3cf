# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Recover the key (sections 3.4 and 4.3): an attacker who knows the method guesses the secret and tests the guess.

The attacker has the encrypted data set and trains a network on it (the paper's M1). The attacker also has labeled
original images and a network trained on originals (M2), and encrypts own images with M2 under a guess. A higher
accuracy of M1 on them means a better guess.
"""
