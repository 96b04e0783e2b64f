-- The procedures whose history refers to the task run.
SELECT DISTINCT 'memory_procedure:' || procedure_id
  FROM control_plane.memory_procedure_version
 WHERE source_task_run_id = %(id)s
 ORDER BY 1
