"""
A tenant as equal lines where it is equal: its files, containers, volumes, and all of its catalogue.

Receipts are left out: they tell of runs, and one that died at the very end has left none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from pgberth.model import layout

Look = Callable[[str, str], str]  # a shell command of the service account and its stdin -> what it says

_FILES = """cd "{directory}" || exit 0
find . -path ./receipts -prune -o -type f -printf 'file %m %p\\n' | sort
find . -path ./receipts -prune -o -type d -printf 'directory %m %p\\n' | sort
sha256sum etc/*
[ ! -d receipts ] || find receipts -type f ! -name '2*-provision.json'
"""
_PODMAN = """podman ps --all --filter "label={label}={name}" --format 'container {{{{.Names}}}}'
podman volume ls --filter "label={label}={name}" --format 'volume {{{{.Name}}}} {{{{.Labels}}}}'
podman volume inspect --format '{{{{.Mountpoint}}}}' {volume} | while read -r place; do
  cat "$place/{marker}" | sed 's/, "system_identifier".*//'
  find "$place" -maxdepth 2 -printf 'volume %m %P\\n' | sort
done
podman container inspect --format '{{{{ .State.Status }}}}, spec {{{{ index .Config.Labels "{spec}" }}}}' "{name}"
"""
_PSQL = 'podman exec -i "{name}" psql -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql -U postgres -d memory -f -'

_CATALOGUE = """
SET search_path = pg_catalog;
CREATE FUNCTION pg_temp.rights(given aclitem[]) RETURNS text LANGUAGE sql AS
  $$ SELECT coalesce(string_agg(one::text, ' ' ORDER BY one::text), '-') FROM unnest(given) AS one $$;
CREATE FUNCTION pg_temp.ours(space oid) RETURNS boolean LANGUAGE sql AS
  $$ SELECT space::regnamespace::text !~ '^(pg_|information_schema)' $$;
SELECT 'role', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
       rolconnlimit, rolpassword LIKE 'SCRAM%' FROM pg_authid ORDER BY 2;
SELECT 'member', roleid::regrole, member::regrole, admin_option, inherit_option, set_option FROM pg_auth_members
 ORDER BY roleid::regrole::text, member::regrole::text;
SELECT 'setting', coalesce(datname, '-'), setrole::regrole, unnest(setconfig)
  FROM pg_db_role_setting LEFT JOIN pg_database AS d ON d.oid = setdatabase ORDER BY 2, 3, 4;
SELECT 'database', datname, datdba::regrole, datconnlimit, pg_temp.rights(datacl) FROM pg_database ORDER BY 2;
SELECT 'schema', nspname, nspowner::regrole, pg_temp.rights(nspacl) FROM pg_namespace
 WHERE pg_temp.ours(oid) ORDER BY 2;
SELECT 'extension', extname, extversion, extnamespace::regnamespace FROM pg_extension ORDER BY 2;
SELECT 'default rights', defaclrole::regrole, defaclnamespace, defaclobjtype, pg_temp.rights(defaclacl)
  FROM pg_default_acl ORDER BY defaclrole::regrole::text, defaclobjtype;
SELECT 'relation', oid::regclass, relkind, relowner::regrole, relrowsecurity, reloptions, pg_temp.rights(relacl)
  FROM pg_class WHERE pg_temp.ours(relnamespace) ORDER BY oid::regclass::text;
SELECT 'column', attrelid::regclass, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
       attgenerated, pg_get_expr(adbin, adrelid), pg_temp.rights(attacl)
  FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
  LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE pg_temp.ours(relnamespace) AND attnum > 0 ORDER BY attrelid::regclass::text, attnum;
SELECT 'constraint', conrelid::regclass, conname, convalidated, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE pg_temp.ours(connamespace) ORDER BY conrelid::regclass::text, conname;
SELECT 'index', indexrelid::regclass, indisvalid, pg_get_indexdef(indexrelid)
  FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid
 WHERE pg_temp.ours(relnamespace) ORDER BY indexrelid::regclass::text;
SELECT 'trigger', tgrelid::regclass, tgenabled, pg_get_triggerdef(oid)
  FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgrelid::regclass::text, tgname;
SELECT 'function', oid::regprocedure, proowner::regrole, prosecdef, proconfig, md5(prosrc), pg_temp.rights(proacl)
  FROM pg_proc WHERE pg_temp.ours(pronamespace) ORDER BY oid::regprocedure::text;
SELECT 'label', enumtypid::regtype, enumlabel FROM pg_enum ORDER BY enumtypid::regtype::text, enumsortorder;
SELECT 'prepared', gid FROM pg_prepared_xacts;
SELECT 'rows', c.oid::regclass,
       (xpath('//n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', c.oid::regclass), false, true, '')))[1]
  FROM pg_class AS c WHERE relkind IN ('r', 'p') AND pg_temp.ours(relnamespace) AND relname <> 'event'
 ORDER BY c.oid::regclass::text;
SELECT 'applied', component, version, kind, state, rendered_sha256 FROM memory_ledger.head ORDER BY 2, 3;
"""


def picture(look: Look, name: str, port: int) -> set[str]:
    """What there is of a tenant, its name, port and spec hash left out. Secrets are not read, only their files seen."""
    directory = layout.directory(name)
    names = {"label": layout.TENANT_LABEL, "spec": layout.SPEC_LABEL, "marker": layout.MARKER}
    files = look(_FILES.format(directory=directory), "")
    podman = look(_PODMAN.format(name=name, volume=layout.volume(name, 1), **names), "")
    catalogue = look(_PSQL.format(name=name), _CATALOGUE)
    spec = json.loads(look(f'cat "{layout.spec_file(name)}"', ""))
    hash_of_spec = spec["hash"]
    told = f"{files}{podman}{catalogue}{json.dumps(spec, sort_keys=True)}"
    for own, common in ((hash_of_spec, "HASH"), (name, "TENANT")):
        told = told.replace(own, common)
    # As a word: a port's digits may stand in a digest by chance.
    return set(re.sub(rf"\b{port}\b", "PORT", told).splitlines())


_MACHINE = """cd
for file in .config/containers/*.conf {machine}; do stat -c 'file %a %n' "$file"; cat "$file"; done
find . -path ./.local/share/containers -prune -o -path ./{home}/tenants -prune -o -path ./{home}/locks -prune \\
  -o -printf '%M %p\\n' | sort
stat -c 'run directory %a %U' "/run/user/$(id -u)"
podman images --all --no-trunc --format 'image {{{{.Id}}}} {{{{.Names}}}}'
podman ps --all --format 'container {{{{.Names}}}}' && podman volume ls --format 'volume {{{{.Name}}}}'
id -Gn
find /tmp /var/tmp -maxdepth 1 -user "$(id -un)" ! -name '*storage-run*' ! -name '*podman-run*' ! -name 'containers-*'
"""


_TEMPORARY = ("machine: /tmp/", "machine: /var/tmp/")


def machine_picture(look: Look, account: str, tenant: str) -> set[str]:
    """What there is on an account with one tenant, their names left out."""
    told = look(_MACHINE.format(machine=layout.MACHINE_FILE, home=layout.HOME), "")
    return {f"machine: {line}" for line in told.replace(account, "ACCOUNT").replace(tenant, "TENANT").splitlines()}


def differences(fresh: set[str], healed: set[str]) -> list[str]:
    """
    What one has and the other has not.

    Nobody misses a temporary file: a former account of the same number may have left it to the fresh one.
    """
    return [
        *(f"missing: {line}" for line in sorted(fresh - healed) if not line.startswith(_TEMPORARY)),
        *(f"extra: {line}" for line in sorted(healed - fresh)),
    ]
