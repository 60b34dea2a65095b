"""Distributions torch lacks, and the rate (KL divergence) of any pair."""
