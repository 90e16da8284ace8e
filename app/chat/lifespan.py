"""Resources of the chat service: opened in its lifespan, closed in the reverse order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from app.chat.accounting.background_model import BackgroundModel
from app.chat.accounting.turn_metrics import TurnMetrics
from app.chat.feedback.service import FeedbackService
from app.chat.idempotency.service import IdempotencyService
from app.chat.openai_api.idempotency import CompletionReplays
from app.chat.openai_api.questions import CompletionQuestions
from app.chat.openai_api.service import CompletionService
from app.chat.search.service import SearchService, new_search_limiter
from app.chat.sessions.branches import BranchService
from app.chat.sessions.bulk import BulkSessionService
from app.chat.sessions.lists import SessionLister
from app.chat.sessions.service import SessionService
from app.chat.sharing.service import SharingService
from app.chat.streaming.publisher import StreamPublisher
from app.chat.streaming.reasoning_publisher import ReasoningPublisher
from app.chat.streaming.remote import RemoteStreams
from app.chat.streaming.resume import StreamingService
from app.chat.streaming.revocation import RevocationWatch
from app.chat.summaries.summarizer import SUMMARY_TOKENS_PER_STEP, Summarizer
from app.chat.titles.title_generator import TitleGenerator
from app.chat.transfer.services import TransferServices
from app.chat.turns.active_answers import ActiveAnswerService
from app.chat.turns.cancellation import CancellationService
from app.chat.turns.limiters import OpenAnswerLimiters
from app.chat.turns.question_builder import QuestionBuilder
from app.chat.turns.recovery import TurnRecovery, UsageEstimate
from app.chat.turns.runner import STORE_AFTER_CANCEL_TIMEOUT, TurnRunner
from app.chat.turns.service import TurnService
from app.chat.turns.store import TurnStore
from app.config import Settings
from app.core.background_tasks import background_task
from app.core.cursors import CursorSigner
from app.core.link_tokens import LinkTokens
from app.core.shutdown import LATE_REQUESTS, SHUTDOWN_NOTICE
from app.database.connection import Database
from app.graph.builder import build_chat_graph
from app.graph.model_policy import ModelLimits, ModelPolicy
from app.graph.ports.chat_model import ChatModel, Sampling
from app.graph.prompts import instructions_builder
from app.http.dependencies import Resources
from app.services.heartbeat import Heartbeat
from app.services.limits.concurrency import ConcurrencyLimiter
from app.services.limits.quotas import QuotaService, default_quota
from app.services.llm.caching_chat_model import CachingChatModel
from app.services.llm.catalog import CatalogModel, ModelCatalog
from app.services.llm.circuit_breaker import CircuitBreakers
from app.services.llm.model_router import ModelRouter
from app.services.llm.response_cache import ResponseCache
from app.services.redis.cancel_channel import CancelChannel
from app.services.redis.client import open_redis
from app.services.redis.deleted_session_purger import running_deleted_session_purger
from app.services.redis.keys import buffer_lifetime
from app.services.redis.reasoning_buffer import ReasoningBuffer
from app.services.redis.stream_buffer import StreamBuffer
from app.services.search.indexer import SearchIndexer

_MAX_BLOCKING_READ = 5.0
"""Maximum number of seconds for which a read may block in Redis."""


@dataclass(frozen=True, slots=True)
class ChatServices:
    """Services that the routes call."""

    sessions: SessionService
    branches: BranchService
    session_lists: SessionLister
    bulk_sessions: BulkSessionService
    active_answers: ActiveAnswerService
    questions: QuestionBuilder
    turns: TurnService
    streaming: StreamingService
    cancellation: CancellationService
    feedback: FeedbackService
    sharing: SharingService
    stream_limiter: ConcurrencyLimiter
    """Open event streams per account."""
    question_limiter: ConcurrencyLimiter
    """Questions in progress without event stream, per account."""
    quotas: QuotaService
    transfer: TransferServices
    search: SearchService
    completions: CompletionService
    """OpenAI-compatible API."""


@dataclass(frozen=True, slots=True)
class _Models:
    """The models and what is known about them."""

    router: ModelRouter
    catalog: ModelCatalog
    policy: ModelPolicy
    """Of questions that choose neither a model nor parameters."""
    breakers: CircuitBreakers

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Return them; `router` must be closed."""
        router, catalog = ModelRouter.from_settings(settings), ModelCatalog.from_settings(settings)
        breakers = CircuitBreakers(
            router.providers, failures=settings.LLM_BREAKER_FAILURES, pause=settings.LLM_BREAKER_PAUSE
        )
        return cls(router, catalog, default_policy(settings, catalog), breakers)


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Open the model client and Redis clients, compile the graph, and start the background tasks."""
    settings, database = resources.settings, resources.database
    async with AsyncExitStack() as stack:
        models = _Models.open(settings)
        stack.push_async_callback(models.router.close)
        blocking_redis = open_redis(settings, max_blocking_seconds=_MAX_BLOCKING_READ)
        stack.push_async_callback(blocking_redis.aclose)
        purger = await stack.enter_async_context(running_deleted_session_purger(resources.breaker))
        lifetime = buffer_lifetime(settings.max_streamed_seconds)
        buffer = StreamBuffer(resources.breaker, blocking_redis, lifetime=lifetime)
        reasoning = ReasoningBuffer(resources.breaker, lifetime=lifetime)
        channel = CancelChannel(resources.breaker, blocking_redis)
        reasoning_publisher = ReasoningPublisher(reasoning)
        publisher = StreamPublisher(buffer, reasoning_publisher)
        estimate = UsageEstimate(models.catalog.primary, settings.LLM_HISTORY_MESSAGES, models.catalog)
        recovery = TurnRecovery(database, buffer.published_text, estimate)
        quotas = QuotaService(database, default_quota(settings))
        runner = _runner(resources, models, _cached_model(resources, models.router, stack), publisher, recovery, quotas)
        limiters = OpenAnswerLimiters.open(settings)
        _report_state(resources.heartbeat, models, runner, limiters)
        remote_streams, revocations = RemoteStreams(database, buffer, reasoning), RevocationWatch(database)
        idempotency = IdempotencyService(database, recovery)
        transfer = TransferServices.open(resources, idempotency)
        for work in (
            publisher.run,
            reasoning_publisher.run,
            runner.watch,
            revocations.run,
            lambda: channel.listen(runner.cancel),
        ):
            await stack.enter_async_context(background_task(work))
        drain = partial(_drain, runner, transfer, remote_streams)
        grace = settings.SHUTDOWN_GRACE - SHUTDOWN_NOTICE
        stack.push_async_callback(drain, grace)
        await stack.enter_async_context(
            background_task(partial(_drain_when_stopping, resources.stopping, partial(drain, grace - LATE_REQUESTS)))
        )
        streaming = StreamingService(runner, idempotency, remote_streams, revocations)
        questions = QuestionBuilder(models.catalog, models.policy, quotas)
        turns = TurnService(runner, idempotency, streaming, limiters.questions)
        branches = BranchService(database, recovery, purger)
        search = _search_service(resources)
        services = ChatServices(
            sessions=SessionService(database, turns, branches, idempotency, questions, purger),
            branches=branches,
            session_lists=SessionLister(search.cursors, search),
            bulk_sessions=BulkSessionService(database, purger),
            active_answers=ActiveAnswerService(database, runner),
            questions=questions,
            turns=turns,
            streaming=streaming,
            cancellation=CancellationService(database, runner, remote_streams, channel),
            feedback=FeedbackService(database),
            sharing=sharing_service(settings, database, idempotency),
            stream_limiter=limiters.streams,
            question_limiter=limiters.questions,
            quotas=quotas,
            transfer=transfer,
            search=search,
            completions=CompletionService(
                CompletionQuestions(questions), runner, streaming, CompletionReplays(idempotency, resources.stopping)
            ),
        )
        yield {"graph": runner.graph, "breakers": models.breakers, "chat": services}


def _runner(
    resources: Resources,
    models: _Models,
    cached_model: ChatModel,
    publisher: StreamPublisher,
    recovery: TurnRecovery,
    quotas: QuotaService,
) -> TurnRunner:
    settings, database = resources.settings, resources.database
    metrics = TurnMetrics(resources.metrics, (model.name for model in models.catalog.models))
    background = partial(
        BackgroundModel, models.router, database, models.policy, models.catalog, quotas, metrics=metrics
    )
    summarizer, title_generator = None, None
    if settings.LLM_SUMMARY_ENABLED:
        model = background("summary", SUMMARY_TOKENS_PER_STEP)
        summarizer = Summarizer(model, database, models.policy, batch=settings.LLM_SUMMARY_MESSAGES)
    if settings.LLM_TITLE_ENABLED:
        title_generator = TitleGenerator(background("title", settings.LLM_TITLE_MAX_TOKENS), database)
    return TurnRunner(
        graph=build_chat_graph(),
        model=cached_model,
        uncached_model=models.router,
        database=database,
        policy=models.policy,
        summarizer=summarizer,
        title_generator=title_generator,
        store=TurnStore(database, recovery, quotas),
        prices=models.catalog,
        turn_timeout=settings.LLM_TURN_TIMEOUT,
        health=models.breakers,
        publisher=publisher,
        metrics=metrics,
    )


def _report_state(heartbeat: Heartbeat, models: _Models, runner: TurnRunner, limiters: OpenAnswerLimiters) -> None:
    for name, read in {
        "models": lambda: models.breakers.states,
        "model_providers": lambda: models.router.providers,
        "model_parameters": lambda: models.router.parameter_changes,
        "turns": lambda: runner.running_count,
        "streams": lambda: limiters.streams.total,
        "questions": lambda: limiters.questions.total,
    }.items():
        heartbeat.add_stats(name, read)


async def _drain(runner: TurnRunner, transfer: TransferServices, remote_streams: RemoteStreams, grace: float) -> None:
    """Wait for running turns and imports, then for titles and summaries. Streams of other replicas are closed.

    `grace`: seconds until all results are stored.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + max(grace - STORE_AFTER_CANCEL_TIMEOUT, 0)
    await asyncio.gather(runner.drain(deadline - now()), transfer.imports.drain(deadline - now()))
    for follow_up in (runner.title_generator, runner.summarizer):
        if follow_up is not None:
            await follow_up.drain(max(deadline - now(), 0))
    remote_streams.close_all()


async def _drain_when_stopping(stopping: asyncio.Event, drain: Callable[[], Awaitable[None]]) -> None:
    await stopping.wait()
    # The gateway must not repeat a question that it has sent on a connection from before the port was closed.
    await asyncio.sleep(SHUTDOWN_NOTICE + LATE_REQUESTS)
    await drain()


def _cached_model(resources: Resources, provider: ModelRouter, stack: AsyncExitStack) -> ChatModel:
    """Return the model with the response cache, if that is enabled. The stack closes the cache."""
    settings = resources.settings
    if settings.LLM_CACHE_TTL <= 0:
        return provider
    cache = ResponseCache(
        resources.breaker,
        seconds=settings.LLM_CACHE_TTL,
        scope=settings.LLM_CACHE_SCOPE,
        fingerprint=provider.fingerprint,
    )
    cached = CachingChatModel(provider, cache)
    stack.push_async_callback(cached.close)
    return cached


def sharing_service(settings: Settings, database: Database, idempotency: IdempotencyService) -> SharingService:
    """Return the service of shared conversations."""
    return SharingService(
        database,
        idempotency,
        LinkTokens.from_secret(settings.secret_keys[0], "share tokens", settings.secret_keys[1:]),
        is_enabled=settings.SHARING_ENABLED,
        max_per_user=settings.SHARES_PER_USER,
        public_url=settings.PUBLIC_URL,
    )


def _search_service(resources: Resources) -> SearchService:
    limiter = new_search_limiter()
    resources.heartbeat.add_stats("searches", lambda: limiter.total)
    cursors = CursorSigner(*resources.settings.secret_keys)
    return SearchService(resources.database, SearchIndexer(resources.database), limiter, cursors)


def default_policy(settings: Settings, catalog: ModelCatalog) -> ModelPolicy:
    """Return the policy of questions that choose neither a model nor parameters."""
    return ModelPolicy(
        models=(catalog.primary, *catalog.fallbacks),
        retries_per_model=settings.LLM_RETRIES_PER_MODEL,
        attempt_timeout=settings.LLM_ATTEMPT_TIMEOUT,
        history_messages=settings.LLM_HISTORY_MESSAGES,
        instructions=instructions_builder(settings.LLM_SYSTEM_PROMPT),
        context_windows={model.name: model.context_window for model in catalog.models},
        stream_idle_timeout=settings.LLM_STREAM_PAUSE,
        stream_timeout=settings.LLM_STREAM_TIMEOUT,
        reasoning_timeout=settings.LLM_REASONING_TIMEOUT,
        sampling=Sampling(temperature=settings.LLM_TEMPERATURE, max_tokens=settings.LLM_MAX_TOKENS),
        limits={model.name: _limits(model) for model in catalog.models},
    )


def _limits(model: CatalogModel) -> ModelLimits:
    return ModelLimits(model.max_output_tokens, model.temperature, model.attempt_timeout, model.stream_pause)
