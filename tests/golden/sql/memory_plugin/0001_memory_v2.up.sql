-- 0001 memory v2: namespaces and records.
--
-- What:    creates memory_namespaces and memory_records with their indexes.
-- Locks:   none on existing tables; the indexes are built on empty ones.
-- Down:    refuses while either table holds rows.
-- Depends: 0000 (schema), the extension vector in schema public.
--
-- Table, constraint and index names are those that the plugin's own start-up DDL uses or implies, so that its
-- IF NOT EXISTS finds them all.
--
-- Deviations from the published 001_memory_v2:
-- * The extension is asserted, not created: it belongs to the superuser, and inside this schema a DROP SCHEMA would take it,
--   and every embedding column of the database, along.
-- * idx_memory_records_embedding is HNSW with the cosine class. The original is ivfflat with the L2 class, which the plugin's
--   cosine queries never use, and which recalls badly when it was built on an empty table.

DO $$ BEGIN
  IF to_regtype('public.vector') IS NULL THEN
    RAISE EXCEPTION 'the type public.vector is missing'
      USING HINT = 'As the superuser, before any migration: CREATE EXTENSION vector SCHEMA public.';
  END IF;
END $$;

CREATE TABLE memory_plugin.memory_namespaces (
  name        text        CONSTRAINT memory_namespaces_pkey PRIMARY KEY,
  kind        text        NOT NULL
              CONSTRAINT memory_namespaces_kind_check CHECK (kind IN ('workspace', 'team', 'org', 'custom')),
  expires_at  timestamptz,
  metadata    jsonb,
  created_at  timestamptz NOT NULL DEFAULT pg_catalog.now()
);

COMMENT ON TABLE memory_plugin.memory_namespaces IS 'Who shares a memory. Deleting a namespace deletes its records.';
COMMENT ON COLUMN memory_plugin.memory_namespaces.metadata
  IS 'May hold JSON null: the plugin writes it for "no metadata".';

CREATE TABLE memory_plugin.memory_records (
  id          uuid        DEFAULT pg_catalog.gen_random_uuid() CONSTRAINT memory_records_pkey PRIMARY KEY,
  namespace   text        NOT NULL CONSTRAINT memory_records_namespace_fkey
              REFERENCES memory_plugin.memory_namespaces (name) ON DELETE CASCADE,
  content     text        NOT NULL,
  kind        text        NOT NULL
              CONSTRAINT memory_records_kind_check CHECK (kind IN ('fact', 'summary', 'checkpoint')),
  source      text        NOT NULL
              CONSTRAINT memory_records_source_check CHECK (source IN ('agent', 'runtime', 'user')),
  expires_at  timestamptz,
  propagation jsonb,
  pin         boolean     NOT NULL DEFAULT false,
  embedding   public.vector(1536),
  content_tsv tsvector    GENERATED ALWAYS AS
              (pg_catalog.to_tsvector('pg_catalog.english'::pg_catalog.regconfig, content)) STORED,
  created_at  timestamptz NOT NULL DEFAULT pg_catalog.now()
);

COMMENT ON TABLE memory_plugin.memory_records
  IS 'One memory a row. Expired rows are hidden by the reader, not removed.';

CREATE INDEX idx_memory_records_namespace ON memory_plugin.memory_records USING btree (namespace);

CREATE INDEX idx_memory_records_fts ON memory_plugin.memory_records USING gin (content_tsv);

CREATE INDEX idx_memory_records_embedding ON memory_plugin.memory_records USING hnsw (embedding public.vector_cosine_ops)
  WHERE embedding IS NOT NULL;

CREATE INDEX idx_memory_records_expires ON memory_plugin.memory_records USING btree (expires_at)
  WHERE expires_at IS NOT NULL;
