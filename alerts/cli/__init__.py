"""What ``manage.py alerts`` does: one module per action, each with ``HELP``, ``add_arguments`` and ``run``."""
