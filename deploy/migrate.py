"""
Take components to the versions the inventory names.

    pyinfra inventories/local.py deploy/migrate.py -y [--limit TENANT|RING] [--data rehearse=true] [--data down=true]

rehearse=true tells SQL, locks and changes, tried on a schema-only copy. down=true also goes down to a lower
target, after a dump that was proven readable; a down file refuses where rows would be lost.
"""

from pgberth.verbs.migrate import migrate

migrate()
