-- 0001 the knowledge store: nine tables, and the first user.
--
-- What:    creates two functions that the tables need, nine tables with their indexes, and the user "local".
-- Locks:   none on existing tables; the indexes are built on empty ones.
-- Down:    refuses while any table holds more than the first user and the registered model.
-- Depends: 0000 (schema), the extension vector in schema public.
--
-- The embedding column has no dimension yet: register_model stamps it and writes embedding_model; then 0002 can index it.
-- review_events is append-only: R1_triggers and R2_grants enforce it. R0_functions holds the current edition of holds_secret.
--
-- Deviations from the published 0001_init:
-- * search_vec takes the tags through tags_text, an IMMUTABLE wrapper with qualified names: array_to_string is only STABLE, so the
--   published generated column is refused by every PostgreSQL. Qualified, because a restore runs with an empty search_path.
-- * review_events.memory_id is ON DELETE RESTRICT, not CASCADE: a cascade would delete what must never be deleted. A node that was
--   ever reviewed therefore stays.
-- * prior_state and new_state refuse the shapes of well-known tokens. A violation echoes the row: validate before inserting.
-- * idx_knowledge_nodes_updated is left out unless index_updated_at is true. With that index no update can stay on its page (HOT), so
--   each one enters every index anew, the vector graph included: 250 updates then took 131 to 201 ms instead of 1 to 3.
-- * trg_knowledge_nodes_updated_at fires only when what somebody wrote changes (R1): a re-embedding run leaves updated_at alone.
-- * pgcrypto is not created: gen_random_uuid() is in the core.

DO $$ BEGIN
  IF to_regtype('public.vector') IS NULL THEN
    RAISE EXCEPTION 'the type public.vector is missing'
      USING HINT = 'As the superuser, before any migration: CREATE EXTENSION vector SCHEMA public.';
  END IF;
END $$;

CREATE FUNCTION knowledge.tags_text(tags text[]) RETURNS text
  LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_to_string(tags, ' ')
$$;

COMMENT ON FUNCTION knowledge.tags_text(text[])
  IS 'Tags with a blank between them. Of text, array_to_string is immutable in fact.';

CREATE FUNCTION knowledge.holds_secret(content text) RETURNS boolean
  LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- Escapes first: in the text of a jsonb a line break is a backslash and an n, and would glue that n to a token.
  SELECT regexp_replace(content, '\\+(u[0-9a-fA-F]{4}|.)', ' ', 'g') COLLATE "C" ~ ANY (ARRAY[
    '-----BEGIN [A-Z0-9 ]*PRIVATE KEY',                                       -- PEM
    '://[^\s/@:"]*:(?![*<${\[])[^\s/@"]+@',                                   -- URL with a password that is no placeholder
    '(^|[^A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{20}',                              -- GitHub
    '(^|[^A-Za-z0-9])github_pat_[A-Za-z0-9_]{20}',
    '(^|[^A-Za-z0-9])(AKIA|ASIA)[A-Z0-9]{16}',                                -- AWS
    '(^|[^A-Za-z0-9])AIza[A-Za-z0-9_-]{30}',                                  -- Google
    '(^|[^A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10}',                          -- Slack
    '(^|[^A-Za-z0-9])glpat-[A-Za-z0-9_-]{20}',                                -- GitLab
    '(^|[^A-Za-z0-9])(pplx-|vc_|ctx7_|ctx7sk-)[A-Za-z0-9_-]{16}',             -- with a prefix of the service's own
    '(^|[^A-Za-z0-9])sk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20}',               -- sk-: has a digit, prose has none
    '(^|[^A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8}',              -- JSON web token
    '(^|[^A-Za-z])[Bb][Ee][Aa][Rr][Ee][Rr]\s+(?=[A-Za-z._~+/-]*[0-9])[A-Za-z0-9._~+/-]{16}',
    -- NAME=value, and "name": "value" where the value has a digit; a reference is a fine value.
    '_(API_KEY|TOKEN|SECRET|PASSWORD)=["'']?(?!secret://)[A-Za-z0-9+/_.~-]{6}',
    '(?i)_(api_key|token|secret|password)["''\s]*[:=]["''\s]*(?!secret://)(?=[a-z+/_.~-]*[0-9])[a-z0-9+/_.~-]{8}'
  ])
$$;

COMMENT ON FUNCTION knowledge.holds_secret(text)
  IS 'Whether a text has the shape of a well-known token in it. Plain hashes pass.';

CREATE TABLE knowledge.embedding_model (
  id         smallint    DEFAULT 1 CONSTRAINT embedding_model_pkey PRIMARY KEY
             CONSTRAINT embedding_model_one_row CHECK (id = 1),
  name       text        NOT NULL,
  dimension  integer     NOT NULL CONSTRAINT embedding_model_dimension_positive CHECK (dimension > 0),
  hash       text        NOT NULL,
  created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);

COMMENT ON TABLE knowledge.embedding_model
  IS 'The model that knowledge_nodes.embedding is of. Written by register_model only.';

CREATE TABLE knowledge.domains (
  id           text        CONSTRAINT domains_pkey PRIMARY KEY,
  label        text        NOT NULL,
  centroid     public.vector,
  top_terms    text[]      NOT NULL DEFAULT '{}',
  memory_count integer     NOT NULL DEFAULT 0,
  created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
  metadata     jsonb       NOT NULL DEFAULT '{}'
);

CREATE TABLE knowledge.users (
  id           uuid        DEFAULT pg_catalog.gen_random_uuid() CONSTRAINT users_pkey PRIMARY KEY,
  handle       text        NOT NULL CONSTRAINT users_handle_key UNIQUE,
  display_name text,
  created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
  metadata     jsonb       NOT NULL DEFAULT '{}'
);

CREATE TABLE knowledge.groups (
  id           uuid        DEFAULT pg_catalog.gen_random_uuid() CONSTRAINT groups_pkey PRIMARY KEY,
  handle       text        NOT NULL CONSTRAINT groups_handle_key UNIQUE,
  display_name text,
  created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
  metadata     jsonb       NOT NULL DEFAULT '{}'
);

CREATE TABLE knowledge.group_memberships (
  user_id   uuid        NOT NULL
            CONSTRAINT group_memberships_user_id_fkey REFERENCES knowledge.users (id) ON DELETE CASCADE,
  group_id  uuid        NOT NULL
            CONSTRAINT group_memberships_group_id_fkey REFERENCES knowledge.groups (id) ON DELETE CASCADE,
  role      text        NOT NULL DEFAULT 'member'
            CONSTRAINT group_memberships_role_check CHECK (role IN ('member', 'admin')),
  joined_at timestamptz NOT NULL DEFAULT pg_catalog.now(),

  CONSTRAINT group_memberships_pkey PRIMARY KEY (user_id, group_id)
);

CREATE TABLE knowledge.knowledge_nodes (
  id                 uuid        DEFAULT pg_catalog.gen_random_uuid() CONSTRAINT knowledge_nodes_pkey PRIMARY KEY,
  content            text        NOT NULL,
  node_type          text        NOT NULL DEFAULT 'general',
  tags               text[]      NOT NULL DEFAULT '{}',
  metadata           jsonb       NOT NULL DEFAULT '{}',
  domains            text[]      NOT NULL DEFAULT '{}',
  domain_scores      jsonb       NOT NULL DEFAULT '{}',
  embedding          public.vector,
  codebase           text,
  owner_user_id      uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000001'
                     CONSTRAINT knowledge_nodes_owner_user_id_fkey REFERENCES knowledge.users (id),
  visibility         text        NOT NULL DEFAULT 'private'
                     CONSTRAINT knowledge_nodes_visibility_check CHECK (visibility IN ('private', 'group', 'public')),
  shared_with_groups uuid[]      NOT NULL DEFAULT '{}',
  created_at         timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at         timestamptz NOT NULL DEFAULT pg_catalog.now(),
  search_vec         tsvector    GENERATED ALWAYS AS (
    pg_catalog.setweight(pg_catalog.to_tsvector('pg_catalog.english'::pg_catalog.regconfig, content), 'A') ||
    pg_catalog.setweight(pg_catalog.to_tsvector('pg_catalog.english'::pg_catalog.regconfig, node_type), 'B') ||
    pg_catalog.setweight(
      pg_catalog.to_tsvector('pg_catalog.english'::pg_catalog.regconfig, knowledge.tags_text(tags)), 'C')
  ) STORED
);

COMMENT ON COLUMN knowledge.knowledge_nodes.updated_at
  IS 'When content, node_type, tags, metadata or codebase last changed.';

CREATE INDEX idx_knowledge_nodes_fts ON knowledge.knowledge_nodes USING gin (search_vec);

CREATE INDEX idx_knowledge_nodes_domains ON knowledge.knowledge_nodes USING gin (domains);

CREATE INDEX idx_knowledge_nodes_tags ON knowledge.knowledge_nodes USING gin (tags);

CREATE INDEX idx_knowledge_nodes_shared_groups ON knowledge.knowledge_nodes USING gin (shared_with_groups);

CREATE INDEX idx_knowledge_nodes_node_type ON knowledge.knowledge_nodes USING btree (node_type);

CREATE INDEX idx_knowledge_nodes_created ON knowledge.knowledge_nodes USING btree (created_at);

CREATE INDEX idx_knowledge_nodes_updated ON knowledge.knowledge_nodes USING btree (updated_at);

CREATE INDEX idx_knowledge_nodes_owner ON knowledge.knowledge_nodes USING btree (owner_user_id);

CREATE INDEX idx_knowledge_nodes_codebase ON knowledge.knowledge_nodes USING btree (codebase) WHERE codebase IS NOT NULL;

CREATE TABLE knowledge.scheduling (
  memory_id      uuid             CONSTRAINT scheduling_pkey PRIMARY KEY
                 CONSTRAINT scheduling_memory_id_fkey REFERENCES knowledge.knowledge_nodes (id) ON DELETE CASCADE,
  stability      double precision NOT NULL DEFAULT 0.0,
  difficulty     double precision NOT NULL DEFAULT 0.0,
  retrievability double precision NOT NULL DEFAULT 1.0,
  last_review    timestamptz,
  next_review    timestamptz,
  reps           integer          NOT NULL DEFAULT 0,
  lapses         integer          NOT NULL DEFAULT 0
);

COMMENT ON TABLE knowledge.scheduling
  IS 'What changes with every review, kept off knowledge_nodes so that its vector index is not touched.';

CREATE INDEX idx_scheduling_next_review ON knowledge.scheduling USING btree (next_review);

CREATE INDEX idx_scheduling_last_review ON knowledge.scheduling USING btree (last_review);

CREATE TABLE knowledge.edges (
  source_id  uuid             NOT NULL
             CONSTRAINT edges_source_id_fkey REFERENCES knowledge.knowledge_nodes (id) ON DELETE CASCADE,
  target_id  uuid             NOT NULL
             CONSTRAINT edges_target_id_fkey REFERENCES knowledge.knowledge_nodes (id) ON DELETE CASCADE,
  edge_type  text             NOT NULL DEFAULT 'related',
  weight     double precision NOT NULL DEFAULT 1.0,
  created_at timestamptz      NOT NULL DEFAULT pg_catalog.now(),

  CONSTRAINT edges_pkey PRIMARY KEY (source_id, target_id, edge_type)
);

CREATE INDEX idx_edges_target ON knowledge.edges USING btree (target_id);

CREATE INDEX idx_edges_source ON knowledge.edges USING btree (source_id);

CREATE INDEX idx_edges_type ON knowledge.edges USING btree (edge_type);

CREATE TABLE knowledge.review_events (
  id          bigserial   CONSTRAINT review_events_pkey PRIMARY KEY,
  memory_id   uuid        NOT NULL CONSTRAINT review_events_memory_id_fkey
              REFERENCES knowledge.knowledge_nodes (id) ON UPDATE RESTRICT ON DELETE RESTRICT,
  timestamp   timestamptz NOT NULL DEFAULT pg_catalog.now(),
  rating      smallint    NOT NULL,
  prior_state jsonb       NOT NULL
              CONSTRAINT review_events_prior_state_no_secret CHECK (NOT knowledge.holds_secret(prior_state::text)),
  new_state   jsonb       NOT NULL
              CONSTRAINT review_events_new_state_no_secret CHECK (NOT knowledge.holds_secret(new_state::text))
);

COMMENT ON TABLE knowledge.review_events
  IS 'Append-only. What each review found and left. See runbooks/append-only-refused.md.';

CREATE INDEX idx_review_events_memory ON knowledge.review_events USING btree (memory_id);

CREATE INDEX idx_review_events_ts ON knowledge.review_events USING btree (timestamp);

-- The default of owner_user_id, so that a store with one user needs no ceremony.
INSERT INTO knowledge.users (id, handle, display_name)
VALUES ('00000000-0000-0000-0000-000000000001', 'local', 'Local User');
