-- 0002 embeddings of procedure versions.
-- pgberth: gate=embedding_model,embedding_model_version,embedding_dimension
--
-- What:    creates memory_procedure_embedding, with the vector index of one model.
-- Locks:   SHARE ROW EXCLUSIVE on memory_procedure and memory_procedure_version, for a moment: foreign keys.
-- Depends: 0001, the extension vector in schema public.
-- Down:    refuses while the table holds rows; drops this table only.
--
-- Apart from 0001, which needs no extension, and gated: vectors of two models, or of two versions of one, share no space, so the
-- table is made only when the tenant names model, version and dimension. Another model is another version with an index of its own.

DO $$ BEGIN
  IF to_regtype('public.vector') IS NULL THEN
    RAISE EXCEPTION 'the type public.vector is missing'
      USING HINT = 'As the superuser, before any migration: CREATE EXTENSION vector SCHEMA public.';
  END IF;
END $$;

CREATE TABLE control_plane.memory_procedure_embedding (
  procedure_id            uuid        NOT NULL CONSTRAINT memory_procedure_embedding_procedure_id_fkey
                          REFERENCES control_plane.memory_procedure (id) ON UPDATE RESTRICT ON DELETE RESTRICT,
  procedure_version_id    uuid        NOT NULL CONSTRAINT memory_procedure_embedding_procedure_version_id_fkey
                          REFERENCES control_plane.memory_procedure_version (id) ON UPDATE RESTRICT ON DELETE RESTRICT,
  embedding_model         text        NOT NULL,
  embedding_model_version text        NOT NULL,
  embedding_dim           integer     NOT NULL,
  content_hash            text        NOT NULL
                          CONSTRAINT memory_procedure_embedding_content_hash_is_sha256 CHECK (content_hash ~ '^[0-9a-f]{64}$'),
  embedding               public.vector(1024) NOT NULL,
  created_at              timestamptz NOT NULL DEFAULT pg_catalog.now(),
  superseded_at           timestamptz,

  CONSTRAINT memory_procedure_embedding_pkey PRIMARY KEY (procedure_version_id, embedding_model, embedding_model_version),
  CONSTRAINT memory_procedure_embedding_dim_is_true CHECK (embedding_dim = public.vector_dims(embedding))
);

COMMENT ON TABLE control_plane.memory_procedure_embedding
  IS 'Derived from memory_procedure_version. Query by model and model version, never across.';

CREATE INDEX idx_memory_procedure_embedding_hnsw ON control_plane.memory_procedure_embedding
  USING hnsw (embedding public.vector_cosine_ops)
  WHERE embedding_model = 'an ''embedder''' AND embedding_model_version = '2026-01';
