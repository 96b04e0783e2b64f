-- R2 is in order when this returns no row: exactly these rights, on whatever is there of the schema.

WITH
relation (oid, name, owner, acl) AS (
  SELECT c.oid, format('%s.%s', n.nspname, c.relname), c.relowner, c.relacl
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
   WHERE n.nspname = 'knowledge'
),

held (object, owner, acl) AS (
  SELECT n.nspname, n.nspowner, n.nspacl FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'knowledge'
  UNION ALL
  SELECT format('%s.%s(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)), p.proowner,
         coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
   WHERE n.nspname = 'knowledge'
  UNION ALL
  SELECT r.name, r.owner, r.acl FROM relation AS r
  UNION ALL
  SELECT format('%s.%s', r.name, a.attname), r.owner, a.attacl
    FROM relation AS r JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
),

given (object, grantee, privilege) AS (
  SELECT h.object,
         CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(acl.grantee) END,
         acl.privilege_type || CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    FROM held AS h CROSS JOIN LATERAL aclexplode(h.acl) AS acl
   WHERE acl.grantee <> h.owner
),

wanted_by_object (object, privileges) AS (VALUES
  ('knowledge', '{USAGE}'),
  ('knowledge.holds_secret(text)', '{EXECUTE}'),
  ('knowledge.tags_text(text[])', '{EXECUTE}'),
  ('knowledge.embedding_model', '{SELECT}'),
  ('knowledge.domains', '{SELECT,INSERT,UPDATE,DELETE}'),
  ('knowledge.users', '{SELECT,INSERT,UPDATE,DELETE}'),
  ('knowledge.groups', '{SELECT,INSERT,UPDATE,DELETE}'),
  ('knowledge.group_memberships', '{SELECT,INSERT,UPDATE,DELETE}'),
  ('knowledge.knowledge_nodes', '{SELECT,INSERT,UPDATE,DELETE}'),
  ('knowledge.scheduling', '{SELECT,INSERT,UPDATE,DELETE}'),
  ('knowledge.edges', '{SELECT,INSERT,UPDATE,DELETE}'),
  ('knowledge.review_events', '{SELECT}'),
  ('knowledge.review_events.memory_id', '{INSERT}'),
  ('knowledge.review_events.rating', '{INSERT}'),
  ('knowledge.review_events.prior_state', '{INSERT}'),
  ('knowledge.review_events.new_state', '{INSERT}'),
  ('knowledge.review_events_id_seq', '{USAGE}')
),

wanted (object, grantee, privilege) AS (
  SELECT w.object, 'memory_app', p.privilege
    FROM wanted_by_object AS w CROSS JOIN LATERAL unnest(w.privileges::text[]) AS p (privilege)
)

SELECT 'grant' AS kind, coalesce(w.object, g.object) AS object,
       CASE WHEN g.object IS NULL THEN format('lacks %s for %s', w.privilege, w.grantee)
            ELSE format('has %s for %s, not wanted', g.privilege, g.grantee) END AS problem
  FROM (SELECT * FROM wanted WHERE object IN (SELECT h.object FROM held AS h)) AS w
  FULL JOIN given AS g ON g.object = w.object AND g.grantee = w.grantee AND g.privilege = w.privilege
 WHERE w.object IS NULL OR g.object IS NULL;
