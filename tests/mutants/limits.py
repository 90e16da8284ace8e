"""Limits that keep clients, and kinds of requests, from using up what others need, each taken out."""

from tests.mutants.mutation import Mutation

_ADMISSION = "services/limits/admission.py"
_ADMISSION_TESTS = ("services/limits/test_admission.py",)
_BULK = "chat/sessions/bulk.py"
_BULK_TESTS = ("http/test_admission.py", "-k", "many_sessions")
_LONG_TESTS = ("http/test_long_requests.py",)
_GATEWAY = "../nginx.conf"
_GATEWAY_TESTS = ("local/test_gateway_limits.py",)

LIMIT_MUTATIONS = (
    # Long requests
    Mutation(
        "guard: a long request occupies a place of the others too",
        _ADMISSION,
        "    with released_slot():\n        slot = await",
        "    if request.slot:\n        slot = await",
        _LONG_TESTS,
    ),
    Mutation(
        "guard: long requests may use the whole connection pool",
        _ADMISSION,
        "min(settings.EXPENSIVE_REQUESTS_PER_PROCESS, pool // 5)",
        "min(settings.EXPENSIVE_REQUESTS_PER_PROCESS, pool)",
        _ADMISSION_TESTS,
    ),
    Mutation(
        "guard: long requests wait as if they had not waited before",
        _ADMISSION,
        "max_seconds=request.remaining_wait()",
        "max_seconds=None",
        _ADMISSION_TESTS,
    ),
    Mutation(
        "guard: a client may use all places of a process",
        _ADMISSION,
        "            running_per_client=min(settings.REQUESTS_PER_CLIENT, max(1, running // 2)),\n",
        "            running_per_client=running,\n",
        ("http/test_admission.py", "-k", "over_its_share"),
    ),
    Mutation(
        "guard: a client may use more than half of the places",
        _ADMISSION,
        "min(settings.REQUESTS_PER_CLIENT, max(1, running // 2))",
        "settings.REQUESTS_PER_CLIENT",
        _ADMISSION_TESTS,
    ),
    Mutation(
        "guard: deletion of many sessions occupies a place of other requests",
        _BULK,
        "        async with expensive_operation():\n            deadline = time.monotonic() + _MAX_SECONDS\n"
        "            found = await self._find(user_id, ids)\n",
        "        if True:\n            deadline = time.monotonic() + _MAX_SECONDS\n"
        "            found = await self._find(user_id, ids)\n",
        _BULK_TESTS,
    ),
    Mutation(
        "guard: archiving of many sessions occupies a place of other requests",
        _BULK,
        "        async with expensive_operation():\n            deadline = time.monotonic() + _MAX_SECONDS\n"
        "            found = await self._find(user_id, ids, is_active",
        "        if True:\n            deadline = time.monotonic() + _MAX_SECONDS\n"
        "            found = await self._find(user_id, ids, is_active",
        _BULK_TESTS,
    ),
    Mutation(
        "guard: reports as files occupy places of other requests",
        "admin/routes/csv_reports.py",
        "    dependencies=[EXPENSIVE],\n",
        "",
        _LONG_TESTS,
    ),
    Mutation(
        "guard: reports occupy places of other requests",
        "admin/routes/analytics.py",
        "dependencies=[EXPENSIVE], ",
        "",
        _LONG_TESTS,
    ),
    Mutation(
        "guard: searches occupy places of other requests",
        "chat/search/service.py",
        "            async with expensive_operation():\n",
        "            if True:\n",
        _LONG_TESTS,
    ),
    Mutation(
        "guard: copies occupy places of other requests",
        "chat/transfer/copies.py",
        "            await stack.enter_async_context(expensive_operation())\n",
        "",
        _LONG_TESTS,
    ),
    Mutation(
        "guard: erasures occupy places of other requests",
        "auth/privacy/erasure.py",
        "                expensive_operation(),\n",
        "",
        _LONG_TESTS,
    ),
    Mutation(
        "guard: an open stream occupies its place",
        "http/admission.py",
        "            request.slot.release()\n            await send(message)",
        "            await send(message)",
        ("http/test_admission.py", "-k", "open_streams"),
    ),
    # Answers that an account waits for
    Mutation(
        "guard: an account may wait for any number of answers",
        "chat/turns/service.py",
        "            with self.limiter.slot(question.user.id):\n",
        "            if True:\n",
        ("http/test_admission.py", "-k", "questions_in_progress"),
    ),
    Mutation(
        "guard: an account may open any number of streams",
        "chat/routes/streams.py",
        "    with services.stream_limiter.slot(user.id):\n",
        "    if True:\n",
        ("chat/streaming/test_open_streams.py", "-k", "above_the_limit"),
    ),
    Mutation(
        "guard: the answers of all accounts together have no limit",
        "chat/turns/limiters.py",
        "return streams.total + questions.total < settings.OPEN_ANSWERS_PER_PROCESS",
        "return True",
        ("http/test_admission.py", "-k", "questions_in_progress"),
    ),
    # The gateway
    Mutation(
        "guard: all clients together may use every connection of the gateway",
        _GATEWAY,
        "    limit_conn all_requests 2000;\n",
        "",
        (*_GATEWAY_TESTS, "-k", "several_addresses"),
    ),
    Mutation(
        "guard: an address may have long requests in all its places at the gateway",
        _GATEWAY,
        "    limit_conn long_requests 400;\n",
        "",
        (*_GATEWAY_TESTS, "-k", "limit_of_an_address"),
    ),
    Mutation(
        "guard: event streams are not counted as long requests",
        _GATEWAY,
        '    "~^GET /api/v1/chat/(.*/)?(events|export)$" $client_network;\n',
        "",
        (*_GATEWAY_TESTS, "-k", "limit_of_an_address"),
    ),
    Mutation(
        "guard: each address of an IPv6 network is a client",
        _GATEWAY,
        '    "~^(?<prefix>([0-9a-f]+:){4})"    $prefix;\n',
        "",
        (*_GATEWAY_TESTS, "-k", "several_addresses"),
    ),
    Mutation(
        "guard: an address may use the health checks of the services without limit",
        _GATEWAY,
        "    location /health/ {\n        limit_conn health_checks 50;\n",
        "    location /health/ {\n",
        (*_GATEWAY_TESTS, "-k", "health_checks_of_others"),
    ),
)
