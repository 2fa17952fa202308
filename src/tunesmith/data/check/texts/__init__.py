"""Checks that need nothing but the text of rows: no model, no embeddings, no other row's meaning.

A module holds one family and ends in `CHECKS`.  What steps that change data share with the checks stands in
pure functions: `personal.mask`, `forms.majority_forms`, `synthetic.plant`.
"""
