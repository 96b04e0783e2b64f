-- R0 functions that the tables of knowledge stand on, in their current edition.
-- pgberth: needs=0001
--
-- What:    replaces tags_text and holds_secret, first made by 0001.
-- Locks:   none that a reader or writer would notice.
-- Depends: 0001.
--
-- tags_text stays as it is: its results are stored, and a new edition would change none of them. Of holds_secret, an edition may
-- only refuse less, or what no row holds: a dump carries the checks, and a restore applies them to every row. To refuse more, a
-- new version drops each check that calls it, and adds it again NOT VALID, then VALIDATE.

CREATE OR REPLACE FUNCTION knowledge.tags_text(tags text[]) RETURNS text
  LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_to_string(tags, ' ')
$$;

CREATE OR REPLACE FUNCTION knowledge.holds_secret(content text) RETURNS boolean
  LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- Escapes first: in the text of a jsonb a line break is a backslash and an n, and would glue that n to a token.
  SELECT regexp_replace(content, '\\+(u[0-9a-fA-F]{4}|.)', ' ', 'g') COLLATE "C" ~ ANY (ARRAY[
    '-----BEGIN [A-Z0-9 ]*PRIVATE KEY',                                       -- PEM
    '://[^\s/@:"]*:(?![*<${\[])[^\s/@"]+@',                                   -- URL with a password that is no placeholder
    '(^|[^A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{20}',                              -- GitHub
    '(^|[^A-Za-z0-9])github_pat_[A-Za-z0-9_]{20}',
    '(^|[^A-Za-z0-9])(AKIA|ASIA)[A-Z0-9]{16}',                                -- AWS
    '(^|[^A-Za-z0-9])AIza[A-Za-z0-9_-]{30}',                                  -- Google
    '(^|[^A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10}',                          -- Slack
    '(^|[^A-Za-z0-9])glpat-[A-Za-z0-9_-]{20}',                                -- GitLab
    '(^|[^A-Za-z0-9])(pplx-|vc_|ctx7_|ctx7sk-)[A-Za-z0-9_-]{16}',             -- with a prefix of the service's own
    '(^|[^A-Za-z0-9])sk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20}',               -- sk-: has a digit, prose has none
    '(^|[^A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8}',              -- JSON web token
    '(^|[^A-Za-z])[Bb][Ee][Aa][Rr][Ee][Rr]\s+(?=[A-Za-z._~+/-]*[0-9])[A-Za-z0-9._~+/-]{16}',
    -- NAME=value, and "name": "value" where the value has a digit; a reference is a fine value.
    '_(API_KEY|TOKEN|SECRET|PASSWORD)=["'']?(?!secret://)[A-Za-z0-9+/_.~-]{6}',
    '(?i)_(api_key|token|secret|password)["''\s]*[:=]["''\s]*(?!secret://)(?=[a-z+/_.~-]*[0-9])[a-z0-9+/_.~-]{8}'
  ])
$$;
