"""Proofs on a training session: each leaves it as it was, to the bit."""
