SELECT component, version, name, kind, state, template_sha256, rendered_sha256, parameters, needs, body
  FROM memory_ledger.head
 WHERE component = %s
 ORDER BY version
