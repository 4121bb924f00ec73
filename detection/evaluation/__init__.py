"""Measure the product on labelled data: ``python -m detection.evaluation TASK DIR``. See docs/accuracy.md.

It drives the pipeline and the rules of the engine as workers do, and needs neither Django nor a database.
"""
