"""Serve Mixture-of-Experts models on rented GPUs from one Pulumi declaration."""

__version__ = "0.1.0"
