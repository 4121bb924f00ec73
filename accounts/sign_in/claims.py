"""Which person the claims of an OpenID provider mean, and what they may do here.

People are known by issuer and subject alone. An e-mail address never leads to an account that is there already:
whoever can choose an address at the provider, or here, must not get into another's account by that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction

from accounts.audit import Actor, audit_write
from accounts.models import AuditEntry, Organisation, User
from accounts.roles import Role

PROVIDER_ID: Final = "oidc"
_NAME_LENGTH: Final = 100
_ACTOR: Final = Actor(AuditEntry.ActorKind.SYSTEM, "oidc")


class SignInRefusedError(Exception):
    """Somebody whom the provider knows, and who does not get in here. ``person`` as far as there is one."""

    def __init__(self, told: str, person: User | None = None) -> None:
        super().__init__(told)
        self.person = person


@dataclass(frozen=True, slots=True)
class Claims:
    """What is taken from a verified ID token."""

    issuer: str
    subject: str
    name: str
    email: str
    first_name: str
    last_name: str
    organisation: str
    roles: frozenset[Role]

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Claims:
        """Read a verified token's claims. An address that the provider has not verified is left out."""
        verified = told.get("email_verified") is True
        of = str(told.get(settings.OIDC_ORGANISATION_CLAIM) or "") if settings.OIDC_ORGANISATION_CLAIM else None
        return cls(
            issuer=str(told["iss"]),
            subject=str(told["sub"]),
            name=_text(told, "preferred_username"),
            email=_text(told, "email") if verified else "",
            first_name=_text(told, "given_name"),
            last_name=_text(told, "family_name"),
            organisation=settings.OIDC_ORGANISATION if of is None else of,
            roles=_roles(told.get(settings.OIDC_ROLES_CLAIM)),
        )

    @property
    def uid(self) -> str:
        """Name the person at the provider, whatever the length of issuer and subject."""
        return hashlib.sha256(f"{self.issuer}\0{self.subject}".encode()).hexdigest()


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    return value.replace("\x00", "")[:_NAME_LENGTH] if isinstance(value, str) else ""


def _roles(given: object) -> frozenset[Role]:
    """Return the roles that a claim means: its values as ``OIDC_ROLES`` translates them, or roles' own names."""
    values = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    table: Mapping[str, str] = settings.OIDC_ROLES
    names = [table.get(value, "") if table else value for value in values if isinstance(value, str)]
    return frozenset(Role(name) for name in names if name in {*Role})


def person_of(claims: Claims) -> User:
    """Return the person, made at the first sign-in, with the roles that the provider tells.

    Raises ``SignInRefusedError`` for who gets no role here, was deactivated, or has moved to another organisation.
    """
    organisation = Organisation.objects.filter(slug=claims.organisation.replace("\x00", "")).first()
    if organisation is None:
        raise SignInRefusedError("The provider names no organisation that is known here.")
    person = _known(claims) or _new(claims, organisation)
    if person.organisation_id != organisation.pk:
        raise SignInRefusedError("The provider names another organisation than that of your account.", person)
    if not person.is_active:
        raise SignInRefusedError("This account was deactivated.", person)
    _roles_write(person, claims.roles)
    if not claims.roles and not person.is_superuser:
        raise SignInRefusedError("The provider gives you no role here.", person)
    return person


def _known(claims: Claims) -> User | None:
    account = SocialAccount.objects.filter(provider=PROVIDER_ID, uid=claims.uid).first()
    return None if account is None else User.objects.select_related("organisation").get(pk=account.user_id)


def _new(claims: Claims, organisation: Organisation) -> User:
    if not claims.roles:
        raise SignInRefusedError("The provider gives you no role here.")
    try:
        with transaction.atomic():
            person = User(
                username=_free_name(claims),
                email=claims.email,
                first_name=claims.first_name,
                last_name=claims.last_name,
                organisation=organisation,
                is_staff=True,
            )
            person.set_unusable_password()
            person.save()
            SocialAccount.objects.create(provider=PROVIDER_ID, uid=claims.uid, user=person, extra_data={})
            _tell(person, "person.created", {})
    except IntegrityError:  # the same person by two tabs at once
        known = _known(claims)
        if known is None:
            raise
        return known
    return person


def _free_name(claims: Claims) -> str:
    """Return the name at the provider, told apart from a name that somebody has here already."""
    name = claims.name or f"oidc-{claims.uid[:12]}"
    return f"{name}-{claims.uid[:12]}" if User.objects.filter(username__iexact=name).exists() else name


def _roles_write(person: User, roles: frozenset[Role]) -> None:
    """Give the roles that the provider tells and take those it does not; other groups are not the provider's."""
    before = set(person.groups.filter(name__in=[*Role]).values_list("name", flat=True))
    after = {role.value for role in roles}
    if before == after:
        return
    with transaction.atomic():
        person.groups.remove(*Group.objects.filter(name__in=before - after))
        person.groups.add(*Group.objects.filter(name__in=after - before))
        _tell(person, "person.changed", {"roles_given": sorted(after - before), "roles_taken": sorted(before - after)})


def _tell(person: User, action: str, details: dict[str, Any]) -> None:
    audit_write(
        organisation=person.organisation,
        actor=_ACTOR,
        action=action,
        subject_type="person",
        subject=person.get_username(),
        details=details,
    )
