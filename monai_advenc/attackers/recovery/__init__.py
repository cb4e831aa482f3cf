# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Recovering the key (sections 3.4 and 4.3): an attacker who knows the method guesses its secret and checks the guess.

The attacker has the encrypted data set, trains a network on it (the paper's M1), and has labeled original images and
a network trained on originals (M2). With M2 the attacker encrypts own images under a guess: the better M1 then
recognizes them, the better the guess.
"""
