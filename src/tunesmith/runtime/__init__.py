"""Models in this process: loading, rendering, the ragged core, sampling.

The only shared code that imports torch; `catalogue`, which finds models, does not.
"""
