"""Distributions that torch does not have, and the rate (KL divergence) of any pair."""
