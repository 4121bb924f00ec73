"""What this app keeps sealed under a key-encryption key."""

from allauth.mfa.models import Authenticator

from accounts.keys import PURPOSE_DATA_KEY
from accounts.models import DataKey, OrganisationKey
from accounts.own_keys import PURPOSE_OWN_KEY
from accounts.sealed import SealedColumn, SealedMembers, register
from accounts.sign_in.second_factor import PURPOSE_SECOND_FACTOR

register(SealedColumn(DataKey, "wrapped_key", PURPOSE_DATA_KEY, id_field="kek_id"))
register(SealedColumn(OrganisationKey, "wrapped_key", PURPOSE_OWN_KEY, id_field="kek_id"))
register(SealedMembers(Authenticator, "data", ("secret", "seed"), PURPOSE_SECOND_FACTOR))
