"""The fixed roles inside every tenant: each tenant is a cluster of its own, so the names never collide."""

DATABASE = "memory"
REHEARSAL = "memory_rehearsal"  # a schema-only copy that comes and goes; the migrator's alone
FRESH = "memory_fresh"  # a fresh build of what is applied, for drift to compare with; temporary, too
SUPERUSER = "postgres"
OWNER = "memory_owner"  # NOLOGIN, owns every object; its only member is the migrator
MIGRATOR = "memory_migrator"
APP = "memory_app"  # NOLOGIN, holds the grants
APP_LOGINS = ("memory_app_a", "memory_app_b")  # two, so that a password can change without refusing anyone
MONITOR = "memory_monitor"
SUITE = "memory_suite"  # has the app's rights, and connections that the app cannot take: the smoke suite logs in as it
LOGINS = (*APP_LOGINS, SUITE, MIGRATOR, MONITOR, SUPERUSER)

# Kind of secret, which the name of its file begins with -> the role that logs in with it; of the app's two, the first.
SECRETS = {"superuser": SUPERUSER, "migrator": MIGRATOR, "app": APP_LOGINS[0], "monitor": MONITOR}

# Role -> the kind of its password. Any holder of the migrator's can read and write all that the suite's role can.
PASSWORD_KINDS = {**{role: kind for kind, role in SECRETS.items()}, SUITE: "migrator"}
