-- One event, numbered after the newest one of its version.
INSERT INTO memory_ledger.event (component, version, ordinal, name, kind, state, template_sha256, rendered_sha256,
                                 body, parameters, needs, note, duration_ms, runner, vector)
SELECT %(component)s, %(version)s, 1 + coalesce(max(ordinal), 0), %(name)s, %(kind)s, %(state)s, %(template_sha256)s,
       %(rendered_sha256)s, %(body)s, %(parameters)s, %(needs)s, %(note)s, %(duration_ms)s, %(runner)s,
       (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'vector')
  FROM memory_ledger.event WHERE component = %(component)s AND version = %(version)s
