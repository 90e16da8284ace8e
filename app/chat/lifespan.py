"""Resources of the chat service: opened in its lifespan, closed in the reverse order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.chat.accounting.background_model import BackgroundModel
from app.chat.feedback.service import FeedbackService
from app.chat.idempotency.service import IdempotencyService
from app.chat.search.service import SearchService, new_search_limiter
from app.chat.sessions.branches import BranchService
from app.chat.sessions.bulk import BulkSessionService
from app.chat.sessions.lists import SessionLister
from app.chat.sessions.service import SessionService
from app.chat.sharing.service import SharingService
from app.chat.streaming.publisher import StreamPublisher
from app.chat.streaming.remote import RemoteStreams
from app.chat.streaming.resume import StreamingService
from app.chat.streaming.revocation import RevocationWatch
from app.chat.summaries.summarizer import SUMMARY_TOKENS_PER_STEP, Summarizer
from app.chat.titles.title_generator import TitleGenerator
from app.chat.transfer.services import TransferServices
from app.chat.turns.active_answers import ActiveAnswerService
from app.chat.turns.cancellation import CancellationService
from app.chat.turns.question_builder import QuestionBuilder
from app.chat.turns.recovery import TurnRecovery, UsageEstimate
from app.chat.turns.runner import STORE_AFTER_CANCEL_TIMEOUT, TurnRunner
from app.chat.turns.service import TurnService
from app.chat.turns.store import TurnStore
from app.config import Settings
from app.core.background_tasks import background_task
from app.core.cursors import CursorSigner
from app.core.link_tokens import LinkTokens
from app.core.shutdown import SHUTDOWN_NOTICE
from app.database.connection import Database
from app.graph.builder import build_chat_graph
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import ChatModel, Sampling
from app.graph.prompts import instructions_builder
from app.http.dependencies import Resources
from app.services.limits.concurrency import ConcurrencyLimiter
from app.services.limits.quotas import QuotaService, default_quota
from app.services.llm.caching_chat_model import CachingChatModel
from app.services.llm.catalog import ModelCatalog
from app.services.llm.circuit_breaker import CircuitBreakers
from app.services.llm.openai import OpenAIChatModel
from app.services.llm.response_cache import ResponseCache
from app.services.redis.cancel_channel import CancelChannel
from app.services.redis.client import open_redis
from app.services.redis.deleted_session_purger import running_deleted_session_purger
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
    quotas: QuotaService
    transfer: TransferServices
    search: SearchService


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Open the model client and Redis clients, compile the graph, and start the background tasks."""
    settings, database = resources.settings, resources.database
    async with AsyncExitStack() as stack:
        provider = OpenAIChatModel.from_settings(settings)
        stack.push_async_callback(provider.close)
        blocking_redis = open_redis(settings, max_blocking_seconds=_MAX_BLOCKING_READ)
        stack.push_async_callback(blocking_redis.aclose)
        deleted_session_purger = await stack.enter_async_context(running_deleted_session_purger(resources.breaker))
        buffer = StreamBuffer(resources.breaker, blocking_redis)
        channel = CancelChannel(resources.breaker, blocking_redis)
        publisher = StreamPublisher(buffer)
        graph = build_chat_graph()
        catalog = ModelCatalog.from_settings(settings)
        recovery = TurnRecovery(
            database, buffer.published_text, UsageEstimate(catalog.primary, settings.LLM_HISTORY_MESSAGES, catalog.cost)
        )
        idempotency = IdempotencyService(database, recovery)
        policy = default_policy(settings, catalog)
        breakers = CircuitBreakers(
            [model.name for model in catalog.models],
            failures=settings.LLM_BREAKER_FAILURES,
            pause=settings.LLM_BREAKER_PAUSE,
        )
        quotas = QuotaService(database, default_quota(settings))
        questions = QuestionBuilder(catalog, policy, quotas)
        background = partial(BackgroundModel, provider, database, policy, catalog.cost, quotas)
        summarizer = Summarizer(
            background("summary", SUMMARY_TOKENS_PER_STEP), database, policy, batch=settings.LLM_SUMMARY_MESSAGES
        )
        title_generator = TitleGenerator(background("title", settings.LLM_TITLE_MAX_TOKENS), database)
        runner = TurnRunner(
            graph=graph,
            model=_cached_model(resources, provider, stack),
            uncached_model=provider,
            database=database,
            policy=policy,
            summarizer=summarizer if settings.LLM_SUMMARY_ENABLED else None,
            title_generator=title_generator if settings.LLM_TITLE_ENABLED else None,
            store=TurnStore(database, recovery, quotas),
            price=catalog.cost,
            turn_timeout=settings.LLM_TURN_TIMEOUT,
            health=breakers,
            publisher=publisher,
        )
        stream_limiter = ConcurrencyLimiter(
            settings.STREAMS_PER_USER,
            code="too_many_streams",
            detail="Too many event streams are open.",
            retry_after=5,
        )
        for name, read in {
            "models": lambda: breakers.states,
            "model_parameters": lambda: provider.parameter_changes.by_model,
            "turns": lambda: runner.running_count,
            "streams": lambda: stream_limiter.total,
        }.items():
            resources.heartbeat.add_stats(name, read)
        remote_streams, revocations = RemoteStreams(database, buffer), RevocationWatch(database)
        transfer = TransferServices.open(resources, idempotency)
        for work in (publisher.run, runner.watch, revocations.run, lambda: channel.listen(runner.cancel)):
            await stack.enter_async_context(background_task(work))

        async def drain() -> None:
            now = asyncio.get_running_loop().time
            deadline = now() + max(settings.SHUTDOWN_GRACE - SHUTDOWN_NOTICE - STORE_AFTER_CANCEL_TIMEOUT, 0)
            await asyncio.gather(runner.drain(deadline - now()), transfer.imports.drain(deadline - now()))
            await title_generator.drain(max(deadline - now(), 0))
            await summarizer.drain(max(deadline - now(), 0))
            remote_streams.close_all()

        async def drain_when_stopping() -> None:
            await resources.stopping.wait()
            await asyncio.sleep(SHUTDOWN_NOTICE)
            await drain()

        stack.push_async_callback(drain)
        await stack.enter_async_context(background_task(drain_when_stopping))
        streaming = StreamingService(runner, idempotency, remote_streams, revocations)
        turns = TurnService(runner, idempotency, streaming)
        branches = BranchService(database, recovery, deleted_session_purger)
        search = _search_service(resources)
        yield {
            "graph": graph,
            "breakers": breakers,
            "chat": ChatServices(
                sessions=SessionService(database, turns, branches, idempotency, questions, deleted_session_purger),
                branches=branches,
                session_lists=SessionLister(search.cursors, search),
                bulk_sessions=BulkSessionService(database, deleted_session_purger),
                active_answers=ActiveAnswerService(database, runner),
                questions=questions,
                turns=turns,
                streaming=streaming,
                cancellation=CancellationService(database, runner, remote_streams, channel),
                feedback=FeedbackService(database),
                sharing=sharing_service(settings, database, idempotency),
                stream_limiter=stream_limiter,
                quotas=quotas,
                transfer=transfer,
                search=search,
            ),
        }


def _cached_model(resources: Resources, provider: ChatModel, stack: AsyncExitStack) -> ChatModel:
    """Return the model with the response cache, if that is enabled. The stack closes the cache."""
    settings = resources.settings
    if settings.LLM_CACHE_TTL <= 0:
        return provider
    cache = ResponseCache(resources.breaker, seconds=settings.LLM_CACHE_TTL, scope=settings.LLM_CACHE_SCOPE)
    cached = CachingChatModel(provider, cache)
    stack.push_async_callback(cached.close)
    return cached


def sharing_service(settings: Settings, database: Database, idempotency: IdempotencyService) -> SharingService:
    """Return the service of shared conversations."""
    return SharingService(
        database,
        idempotency,
        LinkTokens.from_secret(settings.SECRET_KEY.get_secret_value(), "share tokens"),
        is_enabled=settings.SHARING_ENABLED,
        max_per_user=settings.SHARES_PER_USER,
        public_url=settings.PUBLIC_URL,
    )


def _search_service(resources: Resources) -> SearchService:
    limiter = new_search_limiter()
    resources.heartbeat.add_stats("searches", lambda: limiter.total)
    cursors = CursorSigner(resources.settings.SECRET_KEY.get_secret_value())
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
    )
