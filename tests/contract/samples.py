"""Rows, references, and texts with and without the shape of a token. No token here was ever one."""

from __future__ import annotations

_BODY = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
_HEX = "3f786850e387550fdab836ed7e6dc881de23001b"

REFERENCES = [
    "secret://vault/app/db",
    "secret://command/pass/team.globex/db_1",
    "repo#12",
    "owner/repo#1048",
    "path@3f78685",
    f"src/app.py@{_HEX}",
    "https://git.example/owner/repo/pull/3",
    "https://git.example/owner/repo/issues/3#issuecomment-5",
    "s3://bucket_a/key",
    "honcho://session/42",
]
NOT_REFERENCES = [
    "hunter2",
    "",
    " ",
    "secret://",
    "secret://hunter2",
    "secret://vault/../x",
    "secret://vault/app/db\n",
    "secret://vault/app/db and more",
    "SECRET://vault/app/db",
    "postgres://u:p@h/db",
    "https://user@git.example/x",
    "https://git.example/x?token=abc",
    f"https://git.example/ghp_{_BODY}",
    "#12",
    "repo#0",
    "repo#",
    "repo#12x",
    "path@",
    "path@main",
    "../path@3f78685",
    "a b@3f78685",
    "sécret://vault/app/db",
]

# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "private key": "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
    "unencrypted private key": "-----BEGIN " + "PRIVATE KEY-----",
    "database URL": "postgresql://app:" + "hunter2@db:5432/memory",
    "classic GitHub token": "ghp_" + _BODY,
    "GitHub server token": "ghs_" + _BODY,
    "fine-grained GitHub token": "github_pat_" + _BODY,
    "AWS key id": "AKIA" + "ABCDEFGH12345678",
    "Slack token": "xoxb-" + "123456789012-abcdef",
    "Google key": "AIza" + _BODY,
    "GitLab token": "glpat-" + _BODY,
    "OpenAI key": "sk-proj-" + _BODY,
    "Perplexity key": "pplx-" + _BODY,
    "Context7 key": "ctx7_" + _BODY,
    "vc token": "vc_" + _BODY,
    "JSON web token": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0In0.c2ln",
    "bearer": "Authorization: Bearer " + _BODY,
    "assignment": "OPENAI_API_KEY=" + "abcdefgh",
    "quoted assignment": 'export DB_PASSWORD="' + 'hunter2x"',
    "lower-case setting": "service_token: " + "abc12345",
    "JSON setting": '{"CLIENT_SECRET": "' + 'abc12345"}',
}
NO_SECRETS = [
    "The gate is green; 3 of 4 tests were slow.",
    f"Fixed in commit {_HEX}.",
    f"sha256:{_HEX}{_HEX[:24]}",
    "550e8400-e29b-41d4-a716-446655440000",
    "See owner/repo#12 and src/app.py@3f78685.",
    "The bearer of this message knows more.",
    "Bearer authentication-is-described in the runbook.",
    "GITHUB_TOKEN: missing from the environment",
    "GITHUB_TOKEN=$GITHUB_TOKEN",
    "DB_PASSWORD=secret://vault/app/db1",
    "Rotate the token, then erase the row.",
    "max_tokens: 4096, temperature: 0.2",
    "host=db dbname=memory password=$PGPASSWORD",
    "Leave password= empty: the passfile has it.",
    "postgres://app:***@db/memory",
    "postgres://app:${DB_PASSWORD}@db/memory",
    "postgres://app@db/memory",
    "risk-based-assessment-of-2-services-in-the-field",
    "the sk-learn pipeline, version 1",
    "alice@example.com wrote at 12:30",
    "http://localhost:8080/a@b",
    "C:\\new\\table and a \\u0041 in prose",
    "ghp_ is how such tokens begin",
]

_CONTROL_PLANE = """
INSERT INTO control_plane.task_run (task_key, cousin, objective, issue_ref)
VALUES ('run-1', 'cousin', 'Make the gate green.', 'owner/repo#12');

INSERT INTO control_plane.task_checkpoint
  (task_run_id, checkpoint_kind, sequence_no, summary, created_by, evidence_refs)
SELECT id, 'task_start', 1, 'Began.', 'cousin', '["src/app.py@3f78685"]' FROM control_plane.task_run;

INSERT INTO control_plane.memory_procedure (slug, title, trigger_text, created_by, steps)
VALUES ('procedure-1', 'Green gate', 'The gate is red.', 'cousin', '["Read the first failure."]');

INSERT INTO control_plane.memory_procedure_version
  (procedure_id, version_no, title, trigger_text, steps, content_hash, change_reason, source_task_run_id, created_by)
SELECT p.id, 1, p.title, p.trigger_text, p.steps, repeat('ab', 32), 'First.', r.id, 'cousin'
  FROM control_plane.memory_procedure AS p, control_plane.task_run AS r;

INSERT INTO control_plane.memory_procedure_event (procedure_id, procedure_version_id, task_run_id, event_type, actor)
SELECT procedure_id, id, source_task_run_id, 'proposed', 'cousin' FROM control_plane.memory_procedure_version;
"""
_KNOWLEDGE = """
INSERT INTO knowledge.knowledge_nodes (content, tags)
VALUES ('The gate is green.', '{gate}'), ('Nobody reviewed this.', '{}');

INSERT INTO knowledge.review_events (memory_id, rating, prior_state, new_state)
SELECT id, 3, '{"stability": 1.0}', '{"stability": 2.0}' FROM knowledge.knowledge_nodes WHERE tags = '{gate}';
"""
_MEMORY_PLUGIN = """
INSERT INTO memory_plugin.memory_namespaces (name, kind, metadata) VALUES ('workspace:1', 'workspace', 'null');

INSERT INTO memory_plugin.memory_records (namespace, content, kind, source)
VALUES ('workspace:1', 'The gate is green.', 'fact', 'agent');
"""
_FILLINGS = {"control_plane": _CONTROL_PLANE, "knowledge": _KNOWLEDGE, "memory_plugin": _MEMORY_PLUGIN}


def filling(component: str) -> bytes:
    """Rows as the app may write them: in every table with a history at least, and in those it refers to."""
    return _FILLINGS[component].encode()
