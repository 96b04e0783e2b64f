-- agent_memories as rows of memory_plugin: its scope becomes a namespace, what has no column goes into propagation.
SELECT a.id::uuid AS id,
       scope.kind || ':' || a.workspace_id::text AS namespace,
       scope.kind AS reach,
       a.content,
       a.embedding,
       a.created_at,
       jsonb_build_object('legacy_namespace', a.namespace) AS propagation
  FROM {source} AS a
  JOIN (VALUES ('LOCAL', 'workspace'), ('TEAM', 'team'), ('GLOBAL', 'org')) AS scope (legacy, kind)
    ON scope.legacy = upper(a.scope::text)
