-- Where every version stands: its newest event, failures left out, as one JSON array. It fails where there is no ledger.
SELECT coalesce(jsonb_agg(jsonb_build_object(
         'component', component, 'version', version, 'name', name, 'kind', kind, 'state', state,
         'template_sha256', template_sha256, 'rendered_sha256', rendered_sha256,
         'parameters', parameters, 'needs', needs) ORDER BY component, version), '[]')
  FROM (SELECT DISTINCT ON (component, version) *
          FROM memory_ledger.event
         WHERE state <> 'failed'
         ORDER BY component, version, ordinal DESC) AS head
