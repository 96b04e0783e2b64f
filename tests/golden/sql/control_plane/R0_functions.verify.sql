-- R0 is in order when this returns no row. A body is known by the SHA-256 of its text.

WITH
wanted (signature, body, volatility, result) AS (VALUES
  ('holds_secret(text)',    '140d7bf579c4e27d6e7bae0af70e0f467a1213b028a806ee6226a937b24bec01', 'i', 'boolean'),
  ('is_reference(text)',    'f372a35174db24798409b512dc0cd2b711bf1acc8f4c124eda3a7fefeaa34684', 'i', 'boolean'),
  ('are_references(jsonb)', 'd962e6ac307ea676b9b83351cb347686d0ff094c0b4fed284502a75ee44443d1', 'i', 'boolean')
),

found (object, problem) AS (
  SELECT w.signature,
         CASE WHEN p.oid IS NULL THEN 'is missing'
              WHEN pg_get_userbyid(p.proowner) <> 'memory_owner'
                THEN format('is owned by %s, wanted %s', pg_get_userbyid(p.proowner), 'memory_owner')
              WHEN encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex') <> w.body THEN 'has another body'
              WHEN p.proconfig IS DISTINCT FROM '{"search_path=pg_catalog, pg_temp"}' THEN 'has no pinned search_path'
              WHEN p.prosecdef THEN 'is SECURITY DEFINER'
              WHEN p.provolatile <> w.volatility OR NOT p.proisstrict OR format_type(p.prorettype, NULL) <> w.result
                THEN 'is declared otherwise than wanted' END
    FROM wanted AS w
    LEFT JOIN (
      SELECT p.*, format('%s(%s)', p.proname, oidvectortypes(p.proargtypes)) AS signature
        FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
       WHERE n.nspname = 'control_plane'
    ) AS p ON p.signature = w.signature
)

SELECT 'function' AS kind, 'control_plane.' || object AS object, problem FROM found WHERE problem IS NOT NULL;
