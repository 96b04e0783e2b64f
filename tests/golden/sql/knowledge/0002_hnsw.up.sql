-- 0002 vector index over the nodes.
-- pgberth: gate=registered_model
--
-- What:    creates idx_knowledge_nodes_embedding_hnsw: cosine, m 16, ef_construction 64.
-- Locks:   SHARE on knowledge_nodes while it builds; where there are rows, it is built CONCURRENTLY instead.
-- Down:    drops the index; no row is lost.
-- Depends: 0001, and a registered model: a column without a dimension cannot be indexed.
--
-- A build keeps its graph in maintenance_work_mem: about 4 bytes a dimension and 700 more for each row.

CREATE INDEX idx_knowledge_nodes_embedding_hnsw ON knowledge.knowledge_nodes
  USING hnsw (embedding public.vector_cosine_ops) WITH (m = 16, ef_construction = 64);
