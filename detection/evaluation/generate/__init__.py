"""Make labelled sets out of the demo's photographs and synthetic voices: ``python -m detection.evaluation.generate``.

A generated set is called generated: it checks the harness and the rules over time. What it says about real people,
cameras and rooms is little, and docs/accuracy.md keeps it apart.
"""
