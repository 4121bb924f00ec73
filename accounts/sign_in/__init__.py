"""How people sign in to the admin: password, second factor, OpenID Connect; how long that lasts; who is locked out."""
