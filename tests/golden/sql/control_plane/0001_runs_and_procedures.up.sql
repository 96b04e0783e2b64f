-- 0001 task runs with their checkpoints, procedures with their versions and events.
--
-- What:    creates four types, three functions that the checks need, and five tables with their indexes.
-- Locks:   none on existing tables; the indexes are built on empty ones.
-- Down:    refuses while any of the tables holds rows.
-- Depends: 0000 (schema).
--
-- task_checkpoint, memory_procedure_version and memory_procedure_event are append-only: R1_append_only and R2_grants enforce it.
-- R0_functions holds the current edition of the three functions; what stands here is the first one.
--
-- Deviations from the published drafts:
-- * Foreign keys into append-only tables are ON DELETE RESTRICT, where the draft of task_checkpoint says CASCADE: a cascade would
--   delete what must never be deleted.
-- * Columns that hold references are checked to hold nothing else, and free text and jsonb of the append-only tables refuse the
--   shapes of well-known tokens. A violation echoes the row to the client: validate before inserting.

CREATE TYPE control_plane.task_run_status AS ENUM (
  'planned', 'running', 'blocked', 'succeeded', 'failed', 'abandoned'
);

CREATE TYPE control_plane.checkpoint_kind AS ENUM (
  'session_start', 'handoff_created', 'task_start', 'after_inspection', 'before_risky_change', 'after_mutation', 'after_tests',
  'blocked', 'rescue_request', 'task_end', 'session_end', 'pre_compaction', 'post_compaction'
);

CREATE TYPE control_plane.memory_procedure_status AS ENUM (
  'candidate', 'active', 'deprecated', 'blocked'
);

CREATE TYPE control_plane.memory_procedure_event_type AS ENUM (
  'proposed', 'promoted', 'applied', 'succeeded', 'failed', 'contradicted', 'deprecated', 'blocked', 'reinstated'
);

CREATE FUNCTION control_plane.holds_secret(content text) RETURNS boolean
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

COMMENT ON FUNCTION control_plane.holds_secret(text)
  IS 'Whether a text has the shape of a well-known token in it. Plain hashes pass.';

CREATE FUNCTION control_plane.is_reference(candidate text) RETURNS boolean
  LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT candidate COLLATE "C" ~ ANY (ARRAY[
      '^secret://[a-z][a-z0-9-]{0,62}(/[a-z0-9][a-z0-9_.-]{0,62}){1,4}$',
      -- Neither user nor query, for both are where a URL carries what it should not.
      '^(?!secret:)[a-z][a-z0-9+.-]{0,31}://[A-Za-z0-9][A-Za-z0-9._:-]*(/[A-Za-z0-9._~%+@:,=-]*)*(#[A-Za-z0-9._:-]+)?$',
      '^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}#[1-9][0-9]{0,9}$',
      '^[A-Za-z0-9._][A-Za-z0-9._/-]*@[0-9a-f]{7,64}$'
    ])
    AND candidate !~ '(^|/)\.\.(/|$)'
    AND NOT control_plane.holds_secret(candidate)
$$;

COMMENT ON FUNCTION control_plane.is_reference(text)
  IS 'Whether a text is scheme://path, repo#n or path@sha, and no credential.';

CREATE FUNCTION control_plane.are_references(candidates jsonb) RETURNS boolean
  LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE jsonb_typeof(candidates) WHEN 'array' THEN NOT EXISTS (
           SELECT FROM jsonb_array_elements(candidates) AS e (item)
            WHERE jsonb_typeof(item) <> 'string' OR NOT control_plane.is_reference(item #>> '{}')
         ) ELSE false END
$$;

COMMENT ON FUNCTION control_plane.are_references(jsonb) IS 'Whether a jsonb is an array of nothing but references.';

CREATE TABLE control_plane.task_run (
  id           uuid        DEFAULT pg_catalog.gen_random_uuid() CONSTRAINT task_run_pkey PRIMARY KEY,
  task_key     text        NOT NULL CONSTRAINT task_run_task_key_key UNIQUE,
  cousin       text        NOT NULL,
  repo         text,
  branch       text,
  issue_ref    text        CONSTRAINT task_run_issue_ref_is_reference CHECK (control_plane.is_reference(issue_ref)),
  pr_ref       text        CONSTRAINT task_run_pr_ref_is_reference CHECK (control_plane.is_reference(pr_ref)),
  objective    text        NOT NULL,
  status       control_plane.task_run_status NOT NULL DEFAULT 'planned',
  source_refs  jsonb       NOT NULL DEFAULT '[]'
               CONSTRAINT task_run_source_refs_are_references CHECK (control_plane.are_references(source_refs)),
  created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
  started_at   timestamptz,
  completed_at timestamptz
);

COMMENT ON TABLE control_plane.task_run IS 'One task that an agent (cousin) was given.';
COMMENT ON COLUMN control_plane.task_run.issue_ref IS 'pgberth:reference: scheme://path, repo#n or path@sha.';
COMMENT ON COLUMN control_plane.task_run.pr_ref IS 'pgberth:reference: scheme://path, repo#n or path@sha.';
COMMENT ON COLUMN control_plane.task_run.source_refs
  IS 'pgberth:reference: an array of scheme://path, repo#n or path@sha.';

CREATE INDEX idx_task_run_status ON control_plane.task_run USING btree (status);

CREATE INDEX idx_task_run_cousin_created ON control_plane.task_run USING btree (cousin, created_at DESC);

CREATE INDEX idx_task_run_repo_branch ON control_plane.task_run USING btree (repo, branch);

CREATE TABLE control_plane.task_checkpoint (
  id                    uuid        DEFAULT pg_catalog.gen_random_uuid() CONSTRAINT task_checkpoint_pkey PRIMARY KEY,
  task_run_id           uuid        NOT NULL CONSTRAINT task_checkpoint_task_run_id_fkey
                        REFERENCES control_plane.task_run (id) ON UPDATE RESTRICT ON DELETE RESTRICT,
  checkpoint_kind       control_plane.checkpoint_kind NOT NULL,
  sequence_no           integer     NOT NULL CONSTRAINT task_checkpoint_sequence_no_positive CHECK (sequence_no > 0),
  summary               text        NOT NULL
                        CONSTRAINT task_checkpoint_summary_not_blank CHECK (summary ~ '\S')
                        CONSTRAINT task_checkpoint_summary_no_secret CHECK (NOT control_plane.holds_secret(summary)),
  state                 jsonb       NOT NULL DEFAULT '{}'
                        CONSTRAINT task_checkpoint_state_no_secret CHECK (NOT control_plane.holds_secret(state::text)),
  next_action           text
                        CONSTRAINT task_checkpoint_next_action_no_secret CHECK (NOT control_plane.holds_secret(next_action)),
  source_refs           jsonb       NOT NULL DEFAULT '[]'
                        CONSTRAINT task_checkpoint_source_refs_are_references CHECK (control_plane.are_references(source_refs)),
  evidence_refs         jsonb       NOT NULL DEFAULT '[]'
                        CONSTRAINT task_checkpoint_evidence_refs_are_references CHECK (control_plane.are_references(evidence_refs)),
  self_correction_count integer     NOT NULL DEFAULT 0
                        CONSTRAINT task_checkpoint_self_correction_count_not_negative CHECK (self_correction_count >= 0),
  created_by            text        NOT NULL
                        CONSTRAINT task_checkpoint_created_by_no_secret CHECK (NOT control_plane.holds_secret(created_by)),
  created_at            timestamptz NOT NULL DEFAULT pg_catalog.now(),

  CONSTRAINT task_checkpoint_task_run_id_sequence_no_key UNIQUE (task_run_id, sequence_no),
  CONSTRAINT task_checkpoint_stopped_says_next_action
    CHECK (checkpoint_kind NOT IN ('blocked', 'rescue_request') OR next_action IS NOT NULL)
);

COMMENT ON TABLE control_plane.task_checkpoint
  IS 'Append-only. What a task needs to be resumed. See runbooks/append-only-refused.md.';
COMMENT ON COLUMN control_plane.task_checkpoint.source_refs
  IS 'pgberth:reference: an array of scheme://path, repo#n or path@sha.';
COMMENT ON COLUMN control_plane.task_checkpoint.evidence_refs
  IS 'pgberth:reference: an array of scheme://path, repo#n or path@sha.';

CREATE INDEX idx_task_checkpoint_run_sequence ON control_plane.task_checkpoint USING btree (task_run_id, sequence_no DESC);

-- The newest of these is where a task is resumed from.
CREATE INDEX idx_task_checkpoint_resume ON control_plane.task_checkpoint USING btree (task_run_id, created_at DESC)
  WHERE checkpoint_kind IN ('task_end', 'blocked');

CREATE TABLE control_plane.memory_procedure (
  id                  uuid         DEFAULT pg_catalog.gen_random_uuid() CONSTRAINT memory_procedure_pkey PRIMARY KEY,
  slug                text         NOT NULL CONSTRAINT memory_procedure_slug_key UNIQUE,
  title               text         NOT NULL,
  status              control_plane.memory_procedure_status NOT NULL DEFAULT 'candidate',
  owner_cousin        text,
  scope               text         NOT NULL DEFAULT 'global',
  repo                text,
  workstream          text,
  trigger_text        text         NOT NULL,
  intent_tags         text[]       NOT NULL DEFAULT '{}',
  problem_signature   jsonb        NOT NULL DEFAULT '{}',
  preconditions       jsonb        NOT NULL DEFAULT '[]',
  steps               jsonb        NOT NULL
                      CONSTRAINT memory_procedure_steps_not_empty
                      CHECK (CASE jsonb_typeof(steps) WHEN 'array' THEN jsonb_array_length(steps) > 0 ELSE false END),
  inputs_schema       jsonb        NOT NULL DEFAULT '{}',
  outputs_schema      jsonb        NOT NULL DEFAULT '{}',
  success_criteria    jsonb        NOT NULL DEFAULT '[]',
  failure_modes       jsonb        NOT NULL DEFAULT '[]',
  fallback_steps      jsonb        NOT NULL DEFAULT '[]',
  created_by          text         NOT NULL,
  verified_by         text[]       NOT NULL DEFAULT '{}',
  evidence_refs       jsonb        NOT NULL DEFAULT '[]'
                      CONSTRAINT memory_procedure_evidence_refs_are_references CHECK (control_plane.are_references(evidence_refs)),
  source_task_run_ids uuid[]       NOT NULL DEFAULT '{}',
  confidence          numeric(3,2) NOT NULL DEFAULT 0.50
                      CONSTRAINT memory_procedure_confidence_in_range CHECK (confidence BETWEEN 0 AND 1),
  use_count           integer      NOT NULL DEFAULT 0
                      CONSTRAINT memory_procedure_use_count_not_negative CHECK (use_count >= 0),
  success_count       integer      NOT NULL DEFAULT 0
                      CONSTRAINT memory_procedure_success_count_not_negative CHECK (success_count >= 0),
  failure_count       integer      NOT NULL DEFAULT 0
                      CONSTRAINT memory_procedure_failure_count_not_negative CHECK (failure_count >= 0),
  last_used_at        timestamptz,
  valid_from          timestamptz  NOT NULL DEFAULT pg_catalog.now(),
  invalid_at          timestamptz,
  created_at          timestamptz  NOT NULL DEFAULT pg_catalog.now(),
  updated_at          timestamptz  NOT NULL DEFAULT pg_catalog.now(),

  CONSTRAINT memory_procedure_invalid_after_valid CHECK (invalid_at > valid_from),
  -- Nothing promotes itself: an active procedure names who verified it.
  CONSTRAINT memory_procedure_active_is_verified CHECK (status <> 'active' OR cardinality(verified_by) > 0)
);

COMMENT ON TABLE control_plane.memory_procedure
  IS 'The present state of a procedure. Its texts as they were stand in memory_procedure_version.';
COMMENT ON COLUMN control_plane.memory_procedure.evidence_refs
  IS 'pgberth:reference: an array of scheme://path, repo#n or path@sha.';

CREATE INDEX idx_memory_procedure_intent_tags ON control_plane.memory_procedure USING gin (intent_tags);

CREATE INDEX idx_memory_procedure_status_scope ON control_plane.memory_procedure USING btree (status, scope);

CREATE INDEX idx_memory_procedure_repo ON control_plane.memory_procedure USING btree (repo) WHERE repo IS NOT NULL;

CREATE TABLE control_plane.memory_procedure_version (
  id                 uuid        DEFAULT pg_catalog.gen_random_uuid() CONSTRAINT memory_procedure_version_pkey PRIMARY KEY,
  procedure_id       uuid        NOT NULL CONSTRAINT memory_procedure_version_procedure_id_fkey
                     REFERENCES control_plane.memory_procedure (id) ON UPDATE RESTRICT ON DELETE RESTRICT,
  version_no         integer     NOT NULL CONSTRAINT memory_procedure_version_version_no_positive CHECK (version_no > 0),
  title              text        NOT NULL
                     CONSTRAINT memory_procedure_version_title_no_secret CHECK (NOT control_plane.holds_secret(title)),
  trigger_text       text        NOT NULL
                     CONSTRAINT memory_procedure_version_trigger_text_no_secret CHECK (NOT control_plane.holds_secret(trigger_text)),
  intent_tags        text[]      NOT NULL DEFAULT '{}'
                     CONSTRAINT memory_procedure_version_intent_tags_no_secret CHECK (NOT control_plane.holds_secret(intent_tags::text)),
  problem_signature  jsonb       NOT NULL DEFAULT '{}'
                     CONSTRAINT memory_procedure_version_problem_signature_no_secret
                     CHECK (NOT control_plane.holds_secret(problem_signature::text)),
  preconditions      jsonb       NOT NULL DEFAULT '[]'
                     CONSTRAINT memory_procedure_version_preconditions_no_secret
                     CHECK (NOT control_plane.holds_secret(preconditions::text)),
  steps              jsonb       NOT NULL
                     CONSTRAINT memory_procedure_version_steps_no_secret CHECK (NOT control_plane.holds_secret(steps::text)),
  inputs_schema      jsonb       NOT NULL DEFAULT '{}'
                     CONSTRAINT memory_procedure_version_inputs_schema_no_secret
                     CHECK (NOT control_plane.holds_secret(inputs_schema::text)),
  outputs_schema     jsonb       NOT NULL DEFAULT '{}'
                     CONSTRAINT memory_procedure_version_outputs_schema_no_secret
                     CHECK (NOT control_plane.holds_secret(outputs_schema::text)),
  success_criteria   jsonb       NOT NULL DEFAULT '[]'
                     CONSTRAINT memory_procedure_version_success_criteria_no_secret
                     CHECK (NOT control_plane.holds_secret(success_criteria::text)),
  failure_modes      jsonb       NOT NULL DEFAULT '[]'
                     CONSTRAINT memory_procedure_version_failure_modes_no_secret
                     CHECK (NOT control_plane.holds_secret(failure_modes::text)),
  fallback_steps     jsonb       NOT NULL DEFAULT '[]'
                     CONSTRAINT memory_procedure_version_fallback_steps_no_secret
                     CHECK (NOT control_plane.holds_secret(fallback_steps::text)),
  content_hash       text        NOT NULL
                     CONSTRAINT memory_procedure_version_content_hash_is_sha256 CHECK (content_hash ~ '^[0-9a-f]{64}$'),
  change_reason      text        NOT NULL
                     CONSTRAINT memory_procedure_version_change_reason_no_secret
                     CHECK (NOT control_plane.holds_secret(change_reason)),
  evidence_refs      jsonb       NOT NULL DEFAULT '[]'
                     CONSTRAINT memory_procedure_version_evidence_refs_are_references
                     CHECK (control_plane.are_references(evidence_refs)),
  source_task_run_id uuid        CONSTRAINT memory_procedure_version_source_task_run_id_fkey
                     REFERENCES control_plane.task_run (id) ON UPDATE RESTRICT ON DELETE RESTRICT,
  created_by         text        NOT NULL
                     CONSTRAINT memory_procedure_version_created_by_no_secret CHECK (NOT control_plane.holds_secret(created_by)),
  created_at         timestamptz NOT NULL DEFAULT pg_catalog.now(),

  CONSTRAINT memory_procedure_version_procedure_id_version_no_key UNIQUE (procedure_id, version_no)
);

COMMENT ON TABLE control_plane.memory_procedure_version
  IS 'Append-only. What a procedure said, version by version. See runbooks/append-only-refused.md.';
COMMENT ON COLUMN control_plane.memory_procedure_version.content_hash
  IS 'SHA-256, lower-case hex, of the canonical JSON of title to fallback_steps.';
COMMENT ON COLUMN control_plane.memory_procedure_version.evidence_refs
  IS 'pgberth:reference: an array of scheme://path, repo#n or path@sha.';

CREATE TABLE control_plane.memory_procedure_event (
  id                   uuid        DEFAULT pg_catalog.gen_random_uuid() CONSTRAINT memory_procedure_event_pkey PRIMARY KEY,
  procedure_id         uuid        NOT NULL CONSTRAINT memory_procedure_event_procedure_id_fkey
                       REFERENCES control_plane.memory_procedure (id) ON UPDATE RESTRICT ON DELETE RESTRICT,
  procedure_version_id uuid        CONSTRAINT memory_procedure_event_procedure_version_id_fkey
                       REFERENCES control_plane.memory_procedure_version (id) ON UPDATE RESTRICT ON DELETE RESTRICT,
  task_run_id          uuid        CONSTRAINT memory_procedure_event_task_run_id_fkey
                       REFERENCES control_plane.task_run (id) ON UPDATE RESTRICT ON DELETE RESTRICT,
  event_type           control_plane.memory_procedure_event_type NOT NULL,
  actor                text        NOT NULL
                       CONSTRAINT memory_procedure_event_actor_no_secret CHECK (NOT control_plane.holds_secret(actor)),
  payload              jsonb       NOT NULL DEFAULT '{}'
                       CONSTRAINT memory_procedure_event_payload_no_secret CHECK (NOT control_plane.holds_secret(payload::text)),
  evidence_refs        jsonb       NOT NULL DEFAULT '[]'
                       CONSTRAINT memory_procedure_event_evidence_refs_are_references
                       CHECK (control_plane.are_references(evidence_refs)),
  occurred_at          timestamptz NOT NULL DEFAULT pg_catalog.now()
);

COMMENT ON TABLE control_plane.memory_procedure_event
  IS 'Append-only. What happened to a procedure. See runbooks/append-only-refused.md.';
COMMENT ON COLUMN control_plane.memory_procedure_event.evidence_refs
  IS 'pgberth:reference: an array of scheme://path, repo#n or path@sha.';

CREATE INDEX idx_memory_procedure_event_procedure ON control_plane.memory_procedure_event USING btree (procedure_id, occurred_at);

CREATE INDEX idx_memory_procedure_event_task_run ON control_plane.memory_procedure_event USING btree (task_run_id);
