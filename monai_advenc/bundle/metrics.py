# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Collect the metrics of several evaluators in one trainer."""

from __future__ import annotations

from ignite.engine import Engine, Events


class MetricsFrom:
    """Handler that copies an evaluator's metrics to its trainer after each epoch, so that one MLflow run has them all.

    Args:
        evaluator: The evaluator, run by a handler before this one.
    """

    def __init__(self, evaluator: Engine) -> None:
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Copy after each epoch of a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Copy."""
        engine.state.metrics.update(self.evaluator.state.metrics)
