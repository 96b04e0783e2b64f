SELECT set_config(name, value, false)
  FROM (VALUES
    -- An unqualified name finds only what the server itself provides.
    ('search_path', 'pg_catalog, pg_temp'),
    -- When a runner is killed, its query ends and its lock is free within a second.
    ('client_connection_check_interval', '1s'),
    -- A laptop that goes to sleep in the middle of a transaction frees its locks.
    ('idle_in_transaction_session_timeout', '60s'),
    -- Building an index may take its time, whatever the role's default is.
    ('statement_timeout', '0'),
    -- Nobody's lock holds a run up for ever. Steps that change tables set a shorter limit.
    ('lock_timeout', '10s'),
    ('client_min_messages', 'warning'),
    ('application_name', %s)
  ) AS setting (name, value)
