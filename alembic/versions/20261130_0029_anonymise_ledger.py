"""function that removes an erased account from the ledger"""

from alembic import op

revision = "0029"
down_revision = "0028"

# With the rights of the owner, because the role of the services may not change the ledger. It works for accounts only
# that do not exist, so that nobody can use it to hide the use of an account.
_FUNCTION = """
CREATE FUNCTION {schema}.anonymise_ledger(account_id bigint, max_rows integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    changed integer;
BEGIN
    IF EXISTS (SELECT FROM users WHERE id = account_id) THEN
        RAISE EXCEPTION 'the account exists' USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE llm_calls SET user_id = NULL, session_id = NULL
    WHERE id IN (SELECT id FROM llm_calls WHERE user_id = account_id LIMIT max_rows);
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END $$
"""


def upgrade() -> None:
    """Apply. `app.database.service_role` lets the role of the services call it."""
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    op.execute(_FUNCTION.format(schema=schema))
    op.execute(f"REVOKE EXECUTE ON FUNCTION {schema}.anonymise_ledger(bigint, integer) FROM PUBLIC")


def downgrade() -> None:
    """Undo."""
    op.execute("DROP FUNCTION anonymise_ledger(bigint, integer)")
