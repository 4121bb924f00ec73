"""Edit a policy field by field: one form field per setting of the document, checked by the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from detection.engine.policy import DEFAULT_POLICY, PolicyError
from detection.engine.policy import Policy as EnginePolicy
from sessions.policy_words import DESCRIPTIONS

_UNITS = ("s", "px", "deg")

Fieldsets = list[tuple[str | None, dict[str, Any]]]


def leaves(document: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting of a document with its path, ``rules.NO_FACE.hold_s``."""
    for key, value in document.items():
        at = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            yield from leaves(value, at)
        else:
            yield at, value


def field_name(path: str) -> str:
    """Return the form field of a setting: names in forms have no dots."""
    return path.replace(".", "__")


class WordsField(forms.CharField):
    """A list of words or phrases, one a line."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Show a list as lines."""
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """Return the lines that are not empty."""
        return [line.strip() for line in str(value or "").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare the lists."""
        return bool(self.to_python(data) != list(initial or []))


def _form_field(path: str, default: Any) -> forms.Field:
    name, _, unit = path.rpartition(".")[2].rpartition("_")
    label = f"{name} ({unit})" if unit in _UNITS else f"{name}_{unit}".strip("_")
    label = label.replace("_", " ")
    if isinstance(default, bool):
        return forms.BooleanField(label=label, required=False, widget=UnfoldBooleanSwitchWidget)
    if isinstance(default, list):
        return WordsField(label=label)
    return forms.FloatField(label=label, widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}))


class _PolicyFormBase(forms.ModelForm):  # type: ignore[type-arg]
    """Name and mark of a policy; the settings are added below."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        document = self.instance.document if isinstance(self.instance.document, dict) else {}
        stored = dict(leaves(document))
        for path, default in leaves(DEFAULT_POLICY.to_dict()):
            self.initial.setdefault(field_name(path), stored.get(path, default))

    def clean(self) -> dict[str, Any]:
        """Put the document together again; what the engine refuses is said at the field it is about."""
        cleaned = super().clean() or self.cleaned_data
        document = DEFAULT_POLICY.to_dict()
        for path, default in leaves(DEFAULT_POLICY.to_dict()):
            _put(document, path, cleaned.get(field_name(path), default))
        try:
            self.instance.document = EnginePolicy.from_dict(document).to_dict()
        except PolicyError as error:
            for path, message in error.errors.items():
                name = field_name(path)
                self.add_error(name if name in self.fields else None, message)
        return cleaned


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    *sections, name = path.split(".")
    for section in sections:
        document = document[section]
    document[name] = value


_FIELDS = {field_name(path): _form_field(path, default) for path, default in leaves(DEFAULT_POLICY.to_dict())}
PolicyForm: type[_PolicyFormBase] = type("PolicyForm", (_PolicyFormBase,), _FIELDS)


_ROW = 7
"""Fields that fit side by side: as many as a rule has."""


def fieldsets() -> Fieldsets:
    """Return the form's groups: one per rule and detector, with what it means, in lines that fit the page."""
    sections: dict[str, list[str]] = {}
    for path, _ in leaves(DEFAULT_POLICY.to_dict()):
        sections.setdefault(path.rpartition(".")[0], []).append(field_name(path))
    return [
        (_title(section), {"fields": _lines(names), "description": DESCRIPTIONS[section]})
        for section, names in sections.items()
    ]


def _lines(names: list[str]) -> list[tuple[str, ...]]:
    """Share the fields out over as few lines as fit, all about equally long."""
    count = -(-len(names) // _ROW)
    size = -(-len(names) // count)
    return [tuple(names[at : at + size]) for at in range(0, len(names), size)]


_TITLES = {
    "rules": "Rule",
    "detectors": "Detector",
    "sampling": "Sampling",
    "page": "Candidate's page",
    "check_in": "Check-in",
    "": "Time",
}


def _title(section: str) -> str:
    kind, _, name = section.partition(".")
    return f"{_TITLES.get(kind, kind)} {name}".strip()
