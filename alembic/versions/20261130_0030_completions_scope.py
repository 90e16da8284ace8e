"""scope of API keys for the OpenAI-compatible API"""

from alembic import op

revision = "0030"
down_revision = "0029"

_OLD_SCOPES = "cardinality(scopes) > 0 AND scopes <@ ARRAY['chat:read', 'chat:write']::varchar[]"
_SCOPES = "cardinality(scopes) > 0 AND scopes <@ ARRAY['chat:read', 'chat:write', 'chat:completions']::varchar[]"


def upgrade() -> None:
    """Apply. The previous release creates no keys that the new condition refuses."""
    _replace_condition(_SCOPES)


def downgrade() -> None:
    """Undo. The scope is removed from keys, and keys without another scope are deleted."""
    op.execute("DELETE FROM api_keys WHERE scopes = ARRAY['chat:completions']::varchar[]")
    op.execute(
        "UPDATE api_keys SET scopes = array_remove(scopes, 'chat:completions') WHERE 'chat:completions' = ANY(scopes)"
    )
    _replace_condition(_OLD_SCOPES)


def _replace_condition(condition: str) -> None:
    op.drop_constraint(op.f("ck_api_keys_scopes"), "api_keys", type_="check")
    op.create_check_constraint(op.f("ck_api_keys_scopes"), "api_keys", condition)
