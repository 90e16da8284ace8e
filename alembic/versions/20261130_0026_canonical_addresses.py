"""canonical forms of email addresses and user names, and forms for the search of accounts"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"

# The canonical form of ASCII text is its lower case form. The previous release sets none of these columns. A new value
# with an old form means the same; the form of another value than ASCII is determined by `app.database.derived_forms`.
_LOWER = """
    CREATE FUNCTION lower_ascii(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT CASE WHEN octet_length(value) = length(value) THEN lower(value COLLATE "C") END
    $$
"""
_FUNCTION = """
    CREATE FUNCTION {table}_derived_forms() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        {assignments}
        RETURN NEW;
    END
    $$
"""
_ASSIGNMENT = """
        IF NEW.{form} IS NULL AND TG_OP = 'INSERT' THEN
            NEW.{form} := lower_ascii(NEW.{column});
        ELSIF TG_OP = 'UPDATE' THEN
            IF NEW.{column} IS DISTINCT FROM OLD.{column} AND NEW.{form} IS NOT DISTINCT FROM OLD.{form} THEN
                NEW.{form} := lower_ascii(NEW.{column});
            END IF;
        END IF;
"""
_FORMS = {
    "users": {
        "email_canonical": "email",
        "email_folded": "email",
        "username_canonical": "username",
        "full_name_folded": "full_name",
    },
    "invitations": {"email_canonical": "email"},
    "outgoing_mails": {"recipient_canonical": "recipient"},
}
_LENGTHS = {"email_canonical": 320, "recipient_canonical": 320}


def upgrade() -> None:
    """Apply."""
    op.execute(_LOWER)
    for table, forms in _FORMS.items():
        for form in forms:
            op.add_column(table, sa.Column(form, sa.String(_LENGTHS[form]) if form in _LENGTHS else sa.Text()))
        assignments = "".join(_ASSIGNMENT.format(form=form, column=column) for form, column in forms.items())
        op.execute(_FUNCTION.format(table=table, assignments=assignments))
        op.execute(
            f"CREATE TRIGGER {table}_derived_forms BEFORE INSERT OR UPDATE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {table}_derived_forms()"
        )


def downgrade() -> None:
    """Undo."""
    for table, forms in _FORMS.items():
        op.execute(f"DROP TRIGGER {table}_derived_forms ON {table}")
        op.execute(f"DROP FUNCTION {table}_derived_forms()")
        for form in forms:
            op.drop_column(table, form)
    op.execute("DROP FUNCTION lower_ascii(text)")
