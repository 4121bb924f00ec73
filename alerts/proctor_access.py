"""Who may listen to a proctor's socket, over all sessions of an organisation, and which alerts are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.core.validators import slug_re

from accounts.auth import is_api_key
from accounts.models import Organisation, User
from accounts.problems import Problem
from alerts.live_access import Close, Knock, RefusalError, bad_request, key_organisation, nobody, parameters, signed_in
from alerts.stream import Filters
from alerts.subscriptions import event_types_check
from enrollment.models import is_external_id

PARAMETERS: Final = ("after", "exam_id", "event_type", "organisation")
_FILTERS: Final = ("exam_id", "event_type")
MOST_VALUES: Final = 100
"""Values of a repeated parameter."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a client asks for in the address."""

    filters: Filters
    organisation: str | None


@dataclass(frozen=True, slots=True)
class Proctor:
    """Somebody who listens to an organisation. ``sees_pictures``: links to evidence are given."""

    organisation: Organisation
    sees_pictures: bool


def wishes(scope: Mapping[str, Any]) -> Wishes:
    """Read the filters from the address; raise ``RefusalError`` for what cannot be meant."""
    query = parameters(scope, known=PARAMETERS, repeatable=_FILTERS)
    exam_ids, event_types = (list(dict.fromkeys(query.get(name, []))) for name in _FILTERS)
    if max(len(exam_ids), len(event_types)) > MOST_VALUES:
        raise bad_request("parameter_invalid", f"Give exam_id and event_type at most {MOST_VALUES} times each.")
    wrong = [name for name in exam_ids if not name or not is_external_id(name)]
    if wrong:
        raise bad_request("parameter_invalid", f"'{wrong[0][:128]}' cannot be an exam's id.")
    try:
        event_types_check(event_types)
    except Problem as problem:
        raise bad_request(problem.code, problem.detail, **problem.members) from None
    organisation = query.get("organisation", [None])[0]
    if organisation is not None and not slug_re.fullmatch(organisation):
        raise bad_request("parameter_invalid", "organisation is no slug.")
    return Wishes(Filters(exam_ids=tuple(exam_ids), event_types=tuple(event_types)), organisation)


def admit(knock: Knock, asked: Wishes) -> Proctor:
    """Return who is listening; raise ``RefusalError``. Asked again from time to time while the socket is open."""
    if knock.token is not None:
        if not is_api_key(knock.token):
            raise RefusalError(
                Close.UNAUTHENTICATED, "key_invalid", "A join token is for one session: give an API key."
            )
        return Proctor(_own(key_organisation(knock.token), asked), sees_pictures=True)
    if knock.user_id is None:
        raise nobody(knock)
    user = signed_in(knock)
    if not user.has_perm("alerts.view_incident"):
        raise RefusalError(Close.FORBIDDEN, "permission_denied", "Only staff who may view incidents may listen to all.")
    return Proctor(_of(user, asked), sees_pictures=user.has_perm("alerts.view_evidence"))


def _of(user: User, asked: Wishes) -> Organisation:
    """Return the organisation that is asked for: superusers may name another than their own."""
    if asked.organisation is None or not user.is_superuser:
        return _own(user.organisation, asked)
    found = Organisation.objects.filter(slug=asked.organisation).first()
    if found is None:
        raise _unknown(asked)
    return found


def _own(organisation: Organisation, asked: Wishes) -> Organisation:
    if asked.organisation not in (None, organisation.slug):
        raise _unknown(asked)
    return organisation


def _unknown(asked: Wishes) -> RefusalError:
    return RefusalError(
        Close.UNKNOWN_SESSION, "organisation_unknown", f"There is no organisation '{asked.organisation}'."
    )
