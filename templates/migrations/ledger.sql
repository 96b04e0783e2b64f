-- The ledger. For memory_owner, in one transaction, in a database that has none.

CREATE SCHEMA memory_ledger AUTHORIZATION memory_owner;

COMMENT ON SCHEMA memory_ledger IS 'What was done to the schemas of this database. Written by pgberth only.';

CREATE TABLE memory_ledger.event (
  id              bigint       GENERATED ALWAYS AS IDENTITY CONSTRAINT event_pk PRIMARY KEY,
  component       text         NOT NULL,
  version         text         NOT NULL,
  ordinal         integer      NOT NULL,
  name            text         NOT NULL,
  kind            text         NOT NULL CONSTRAINT event_kind CHECK (kind IN ('versioned', 'repeatable', 'code')),
  state           text         NOT NULL
                  CONSTRAINT event_state CHECK (state IN ('started', 'applied', 'reverted', 'failed')),
  template_sha256 text         NOT NULL,
  rendered_sha256 text         NOT NULL,
  body            text         NOT NULL,
  parameters      jsonb        NOT NULL CONSTRAINT event_parameters CHECK (jsonb_typeof(parameters) = 'object'),
  needs           text[]       NOT NULL,
  note            text,
  duration_ms     integer,
  started_at      timestamptz  NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  login           text         NOT NULL DEFAULT session_user,
  application     text         NOT NULL DEFAULT pg_catalog.current_setting('application_name'),
  runner          text         NOT NULL,
  server          text         NOT NULL DEFAULT pg_catalog.current_setting('server_version'),
  vector          text,
  -- Two runners that begin the same step at once collide here, before either has run any of it.
  CONSTRAINT event_once UNIQUE (component, version, ordinal)
);

CREATE VIEW memory_ledger.head AS
  SELECT DISTINCT ON (component, version)
         component, version, name, kind, state, template_sha256, rendered_sha256, body, parameters, needs, started_at
    FROM memory_ledger.event
   WHERE state <> 'failed'
   ORDER BY component, version, ordinal DESC;

CREATE FUNCTION memory_ledger.refuse_change() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON memory_ledger.event
  FOR EACH STATEMENT EXECUTE FUNCTION memory_ledger.refuse_change();

ALTER TABLE memory_ledger.event ENABLE ALWAYS TRIGGER append_only;

-- What deploy/erase.py took away; never what it was.
CREATE TABLE memory_ledger.tombstone (
  id        bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT tombstone_pk PRIMARY KEY,
  component text        NOT NULL,
  subject   text        NOT NULL,
  deleted   jsonb       NOT NULL,
  reason    text        NOT NULL CONSTRAINT tombstone_reason CHECK (reason ~ '\S'),
  erased_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  login     text        NOT NULL DEFAULT session_user
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON memory_ledger.tombstone
  FOR EACH STATEMENT EXECUTE FUNCTION memory_ledger.refuse_change();

ALTER TABLE memory_ledger.tombstone ENABLE ALWAYS TRIGGER append_only;

REVOKE ALL ON FUNCTION memory_ledger.refuse_change() FROM PUBLIC;
GRANT USAGE ON SCHEMA memory_ledger TO memory_monitor;
GRANT SELECT ON memory_ledger.event, memory_ledger.head, memory_ledger.tombstone TO memory_monitor;
