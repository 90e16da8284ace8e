"""Guards against overload, races and edge cases, each taken out."""

from tests.mutants.mutation import Mutation

_GATEWAY = "../nginx.conf"

GUARD_MUTATIONS = (
    Mutation(
        "guard: requests are not admitted",
        "services/limits/fair_queue.py",
        "        if self._running < self.limits.running and (\n",
        "        if True or (\n",
        ("http/test_admission.py", "-k", "over_its_share"),
    ),
    Mutation(
        "guard: waiting for a connection is part of the timeout",
        "database/connection.py",
        "        deadline.reschedule(expires_at)",
        "        pass",
        ("database/test_busy.py", "-k", "deadline_begins"),
    ),
    Mutation(
        "guard: a timeout of one operation is an outage",
        "database/connection.py",
        "                self._succeeded_at > started or self._is_own_delay(delay.seconds)",
        "                False",
        ("database/test_busy.py",),
    ),
    Mutation(
        "guard: errors of races are not translated",
        "database/driver_errors.py",
        "        if error is not None and (known := translated(error)) is not None:",
        "        if error is None and (known := translated(error)) is not None:",
        ("contract/test_deletion_races.py", "-k", "deletion_during_an_insertion and create_session and users"),
    ),
    Mutation(
        "guard: ambiguous letters are accepted in addresses",
        "core/identity.py",
        "return not _AMBIGUOUS_LETTERS.isdisjoint(text)",
        "return False",
        ("auth/test_identity.py", "-k", "ambiguous"),
    ),
    Mutation(
        "guard: compatible characters of addresses are not unified",
        "core/identity.py",
        'return strip_blank(unicodedata.normalize("NFKC", text))',
        "return strip_blank(text)",
        ("core/test_identity.py",),
    ),
    Mutation(
        "guard: names are limited in all networks together",
        "auth/login_throttle.py",
        'name_key = _in_network(f"name:{name}", network)',
        'name_key = f"name:{name}"',
        ("auth/test_login_throttle.py", "-k", "other_networks"),
    ),
    Mutation(
        "guard: a stolen token uses up the attempts of the owner",
        "auth/login_throttle.py",
        'login_key = f"{_confirmation_key(user.id)}@{user.session_uuid}"',
        "login_key = _confirmation_key(user.id)",
        ("auth/test_passwords.py", "-k", "stolen or thief"),
    ),
    Mutation(
        "guard: an address may use every connection of the gateway",
        _GATEWAY,
        "    limit_conn requests 500;\n",
        "",
        ("local/test_gateway_limits.py", "-k", "over_the_limit"),
    ),
    Mutation(
        "guard: errors of the gateway have no CORS headers",
        _GATEWAY,
        "    add_header Access-Control-Allow-Origin $gateway_allow_origin always;\n",
        "",
        ("local/test_gateway_cors.py",),
    ),
    Mutation(
        "guard: the gateway collects bodies before it passes them on",
        _GATEWAY,
        "    proxy_request_buffering off;\n",
        "",
        ("local/test_gateway_limits.py", "-k", "while_they_arrive"),
    ),
    Mutation(
        "guard: a question occupies its place while the model answers",
        "chat/turns/service.py",
        "        release_slot()  # the model",
        "        pass  # the model",
        ("http/test_admission.py", "-k", "waiting_for_the_model"),
    ),
    Mutation(
        "guard: rotations of a secret at once are not one after the other",
        "database/repositories/webhooks/endpoints.py",
        "    if for_change:\n",
        "    if False:\n",
        ("admin/test_webhooks.py", "-k", "rotations"),
    ),
    Mutation(
        "guard: only ASCII texts are compared without case",
        "core/text.py",
        '    folded = normal_form("NFKD", normal_form("NFD", text).casefold())\n'
        '    return normal_form("NFKC", folded.casefold())',
        "    return text.lower()",
        ("core/test_identity.py", "services/search/test_text.py"),
    ),
    Mutation(
        "guard: new emoji are blank",
        "core/text.py",
        "    return _BLANK.fullmatch(text) is not None",
        "    return not any(character.isprintable() and not character.isspace() for character in text)",
        ("core/test_text.py",),
    ),
    Mutation(
        "guard: default ports of origins are compared",
        "config/origins.py",
        "has_port = port is not None and port != _DEFAULT_PORTS.get(parts.scheme)",
        "has_port = port is not None",
        ("config/test_settings.py", "-k", "origins"),
    ),
)
