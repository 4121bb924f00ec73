"""What ``manage.py alerts`` does: one module per action, each with ``add_arguments`` and ``run``."""
