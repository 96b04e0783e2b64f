-- Undo 0002. The index is derived: no row is lost, and 0002 builds it again.

DROP INDEX knowledge.idx_knowledge_nodes_embedding_hnsw RESTRICT;
