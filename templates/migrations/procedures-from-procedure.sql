-- The other procedures whose history refers to a version of the procedure.
SELECT DISTINCT 'memory_procedure:' || e.procedure_id
  FROM control_plane.memory_procedure_event AS e
  JOIN control_plane.memory_procedure_version AS v ON v.id = e.procedure_version_id
 WHERE v.procedure_id = %(id)s AND e.procedure_id <> v.procedure_id
 ORDER BY 1
