#!/bin/sh
# Backup and restore of the containers, from the folder of docker-compose.yml:
#
#   deploy/compose-backup.sh backup DIRECTORY
#   deploy/compose-backup.sh restore DIRECTORY    into new volumes, before the first `docker compose up`
#
# A backup is a directory: `database.dump` (custom format of pg_dump), `manifest` with the number and a checksum of the
# rows of each table, taken from the same snapshot, and `secret-key`.
set -eu
umask 077
compose=${COMPOSE:-docker compose}
action=${1:-} directory=${2:-}
directory=${directory%/}
[ -n "$directory" ] || { echo "usage: $0 backup|restore DIRECTORY" >&2; exit 2; }

# Prints one line per table. The checksums do not depend on the order of rows, nor on the defaults of the role.
checksums="SET timezone = 'UTC';
SET extra_float_digits = 3;
SELECT format('SELECT %L, count(*), coalesce(sum((''x'' || left(md5(t::text), 16))::bit(64)::bigint), 0) FROM public.%I AS t',
    relname, relname)
FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname COLLATE \"C\" \\gexec"

run_sql() {
    $compose exec -T postgres psql -qAtX -F ' ' -v ON_ERROR_STOP=1 -U chatbot_user -d chatbot_db "$@"
}

case $action in
backup)
    [ ! -e "$directory" ] || { echo "backup: $directory exists already" >&2; exit 1; }
    unfinished=$directory.unfinished
    rm -rf "$unfinished"
    mkdir -p "$unfinished"
    # From the settings of a service, because a variable or a file may replace the generated key.
    $compose run --rm -T --no-deps auth-service python -c \
        'from app.config import get_settings; print(get_settings().SECRET_KEY.get_secret_value())' >"$unfinished/secret-key"
    # The transaction holds the snapshot of the dump for the checksums. The file `dumped` is the status of pg_dump, which
    # psql ignores.
    run_sql >"$unfinished/database.dump" <<EOF
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT pg_export_snapshot() AS snapshot \gset
\setenv SNAPSHOT :snapshot
\! rm -f /tmp/dumped; pg_dump -U chatbot_user --format=custom --snapshot="\$SNAPSHOT" chatbot_db </dev/null && touch /tmp/dumped
\o /tmp/manifest
$checksums
\o
COMMIT;
EOF
    $compose exec -T postgres sh -c 'rm /tmp/dumped && cat /tmp/manifest && rm /tmp/manifest' >"$unfinished/manifest"
    mv "$unfinished" "$directory"
    echo "Written: $directory. It contains the secret key: store that file in another place."
    ;;
restore)
    [ -s "$directory/database.dump" ] || { echo "restore: $directory is not a complete backup" >&2; exit 1; }
    $compose up -d postgres
    attempts=60
    until $compose exec -T postgres pg_isready -q -h 127.0.0.1 -U chatbot_user -d chatbot_db; do
        attempts=$((attempts - 1))
        [ $attempts -gt 0 ] || { echo "restore: PostgreSQL does not start" >&2; exit 1; }
        sleep 1
    done
    tables=$(run_sql -c "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
    [ "$tables" = 0 ] || { echo "restore: the database is not empty: restore into new volumes" >&2; exit 1; }
    # The dump grants rights to the roles of the services at that time. They are created for the restore only: `migrate`
    # creates the present one, with its password and its rights.
    roles=$($compose exec -T postgres pg_restore --schema-only --file=- <"$directory/database.dump" |
        sed -n 's/^GRANT .* TO \([^ ]*\);$/\1/p' | sort -u | grep -vx -e chatbot_user -e PUBLIC || true)
    for role in $roles; do
        run_sql -v role="$role" <<'EOF'
SELECT 'CREATE ROLE ' || :'role' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE quote_ident(rolname) = :'role') \gexec
EOF
    done
    $compose exec -T postgres pg_restore -U chatbot_user -d chatbot_db \
        --single-transaction --exit-on-error --no-owner <"$directory/database.dump"
    for role in $roles; do
        run_sql -v role="$role" <<'EOF'
DROP OWNED BY :role;
DROP ROLE :role;
EOF
    done
    if [ -s "$directory/manifest" ]; then
        echo "$checksums" | run_sql | diff "$directory/manifest" - >&2 ||
            { echo "restore: the restored tables differ from the backup, see the lines above" >&2; exit 1; }
        compared=", all $(grep -c . "$directory/manifest") tables equal"
    fi
    if [ -s "$directory/secret-key" ]; then
        # `setup` keeps a secret that exists, and writes the settings from it at the next `up`.
        $compose run --rm -T --no-deps setup sh -euc \
            'umask 077; tr -d "\r\n" >/secrets/secret_key.new; mv /secrets/secret_key.new /secrets/secret_key' \
            <"$directory/secret-key"
    fi
    echo "Restored${compared:-}. Start the system: $compose up -d"
    ;;
*)
    echo "usage: $0 backup|restore DIRECTORY" >&2
    exit 2
    ;;
esac
