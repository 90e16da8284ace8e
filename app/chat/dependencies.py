"""What the chat service opens besides the shared resources, and how its routes get at it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from app.chat.idempotency.service import Replies
from app.chat.sessions.service import ChatService
from app.chat.streaming.cancellation import StopService
from app.chat.streaming.publisher import Outlet
from app.chat.streaming.remote import Mirrors
from app.chat.streaming.revocation import RevocationWatch
from app.chat.streaming.service import FollowingService
from app.chat.turns.questions import Questions
from app.chat.turns.recovery import AbandonedTurns, Estimate
from app.chat.turns.runner import SETTLE_PATIENCE, TurnRunner
from app.chat.turns.store import TurnStore
from app.chat.turns.summarizer import Summarizer
from app.chat.turns.summary_model import NoteTaker
from app.config import Settings
from app.core.shutdown import NOTICE_SECONDS
from app.graph.builder import build_chat_graph
from app.graph.context import ChatModel, ModelPolicy, Sampling
from app.graph.prompts import deployment_instructions
from app.http.dependencies import Resources
from app.services.limits.open_streams import OpenStreams
from app.services.limits.quotas import Quotas, default_quota
from app.services.llm.caching import CachedModel
from app.services.llm.catalog import Catalog
from app.services.llm.circuit_breaker import Breakers
from app.services.llm.openai import OpenAIChatModel
from app.services.llm.response_cache import AnswerCache
from app.services.redis.cache_purger import running_cleaner
from app.services.redis.cancel_channel import StopChannel
from app.services.redis.client import open_redis
from app.services.redis.stream_buffer import TurnBuffer

_LONGEST_READ = 5.0
"""Seconds that a command may ask Redis to wait for what it reads."""


@dataclass(frozen=True, slots=True)
class ChatServices:
    """The decisions of this room, by topic."""

    sessions: ChatService
    questions: Questions
    turns: TurnRunner
    following: FollowingService
    stops: StopService
    streams: OpenStreams
    quotas: Quotas


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Open what only this service needs: the model's client, the compiled graph, the running turns."""
    settings, database = resources.settings, resources.database
    async with AsyncExitStack() as stack:
        provider = OpenAIChatModel.from_settings(settings)
        stack.push_async_callback(provider.close)
        blocking_redis = open_redis(settings, longest_wait=_LONGEST_READ)
        stack.push_async_callback(blocking_redis.aclose)
        model: ChatModel = provider
        if settings.LLM_CACHE_TTL > 0:
            cache = AnswerCache(resources.breaker, seconds=settings.LLM_CACHE_TTL, scope=settings.LLM_CACHE_SCOPE)
            model = cached = CachedModel(provider, cache)
            stack.push_async_callback(cached.close)
        cleaner = await stack.enter_async_context(running_cleaner(resources.breaker))
        buffer = TurnBuffer(resources.breaker, blocking_redis)
        channel = StopChannel(resources.breaker, blocking_redis)
        outlet = Outlet(buffer)
        graph = build_chat_graph()
        catalog = Catalog.from_settings(settings)
        abandoned = AbandonedTurns(
            database, buffer.published, Estimate(catalog.primary, settings.LLM_HISTORY_MESSAGES, catalog.cost)
        )
        replies = Replies(database, abandoned)
        policy = _policy(settings, catalog)
        breakers = Breakers(
            [model.name for model in catalog.models],
            failures=settings.LLM_BREAKER_FAILURES,
            pause=settings.LLM_BREAKER_PAUSE,
        )
        quotas = Quotas(database, default_quota(settings))
        questions = Questions(catalog, policy, quotas)
        notes = NoteTaker(provider, database, policy, catalog.cost, quotas)
        summarizer = Summarizer(notes, database, policy, batch=settings.LLM_SUMMARY_MESSAGES)
        turns = TurnRunner(
            graph=graph,
            model=model,
            database=database,
            policy=policy,
            summarizer=summarizer if settings.LLM_SUMMARY_ENABLED else None,
            store=TurnStore(database, abandoned, quotas),
            price=catalog.cost,
            turn_timeout=settings.LLM_TURN_TIMEOUT,
            health=breakers,
            outlet=outlet,
        )
        streams = OpenStreams(settings.STREAMS_PER_USER)
        resources.heartbeat.show("models", lambda: breakers.states)
        resources.heartbeat.show("turns", lambda: turns.running)
        resources.heartbeat.show("streams", lambda: streams.open)
        mirrors = Mirrors(database, buffer)
        revocations = RevocationWatch(database)
        for work in (outlet.run(), turns.watch(), revocations.run(), channel.listen(turns.stop)):
            _start(stack, work)

        async def drain() -> None:
            now = asyncio.get_running_loop().time
            give_up = now() + max(settings.SHUTDOWN_GRACE - NOTICE_SECONDS - SETTLE_PATIENCE, 0)
            await turns.drain(give_up - now())
            await summarizer.drain(max(give_up - now(), 0))
            mirrors.let_go()

        async def drain_when_stopping() -> None:
            await resources.stopping.wait()
            await asyncio.sleep(NOTICE_SECONDS)
            await drain()

        stack.push_async_callback(drain)
        _start(stack, drain_when_stopping())
        yield {
            "graph": graph,
            "breakers": breakers,
            "chat": ChatServices(
                sessions=ChatService(database, turns, replies, questions, cleaner),
                questions=questions,
                turns=turns,
                following=FollowingService(turns, replies, mirrors, revocations),
                stops=StopService(database, turns, mirrors, channel),
                streams=streams,
                quotas=quotas,
            ),
        }


def _policy(settings: Settings, catalog: Catalog) -> ModelPolicy:
    return ModelPolicy(
        models=(catalog.primary, *catalog.fallbacks),
        retries_per_model=settings.LLM_RETRIES_PER_MODEL,
        attempt_timeout=settings.LLM_ATTEMPT_TIMEOUT,
        history_messages=settings.LLM_HISTORY_MESSAGES,
        instructions=deployment_instructions(settings.LLM_SYSTEM_PROMPT),
        context_windows={model.name: model.context_window for model in catalog.models},
        stream_pause=settings.LLM_STREAM_PAUSE,
        stream_timeout=settings.LLM_STREAM_TIMEOUT,
        sampling=Sampling(temperature=settings.LLM_TEMPERATURE, max_tokens=settings.LLM_MAX_TOKENS),
    )


def _start(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Run something in the background for as long as the stack is open."""
    task = asyncio.create_task(work)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)


async def _get_services(request: Request) -> ChatServices:
    services: ChatServices = request.state.chat
    return services


ServicesDep = Annotated[ChatServices, Depends(_get_services)]
