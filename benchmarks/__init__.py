"""What ``make bench`` runs: measurements on real parts, as JSON on the screen and in ``benchmarks/results/``."""
