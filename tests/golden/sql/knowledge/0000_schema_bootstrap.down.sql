-- Undo 0000. RESTRICT: whatever is still in the schema stops this file, and nothing changes.

DROP SCHEMA knowledge RESTRICT;
