"""What this app keeps sealed under a key-encryption key."""

from accounts.keys import PURPOSE_DATA_KEY
from accounts.models import DataKey, OrganisationKey
from accounts.own_keys import PURPOSE_OWN_KEY
from accounts.sealed import SealedColumn, register

register(SealedColumn(DataKey, "wrapped_key", PURPOSE_DATA_KEY, id_field="kek_id"))
register(SealedColumn(OrganisationKey, "wrapped_key", PURPOSE_OWN_KEY, id_field="kek_id"))
