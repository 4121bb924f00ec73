"""What can be done with a candidate: enrol, look up, verify, erase."""

from enrollment.templates import candidate_data_key, template_load

__all__ = ["candidate_data_key", "template_load"]
