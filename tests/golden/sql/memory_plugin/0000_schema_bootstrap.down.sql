-- Undo 0000. RESTRICT: whatever is still in the schema, an extension included, stops this file and nothing changes.

DROP SCHEMA memory_plugin RESTRICT;
