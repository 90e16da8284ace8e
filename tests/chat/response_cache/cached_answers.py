"""Questions to a service with a response cache, and the cached answers."""

from redis import Redis

from tests.fixtures.streaming import ChatServer

TEXT = "Many words that follow each other. " * 20
STRIPPED_TEXT = TEXT.strip()


def ask(server: ChatServer, message: str = "Hi", session: str | None = None) -> dict[str, object]:
    """Ask in a session, by default a new one, and return the answer."""
    path = f"/sessions/{session or server.open()}/messages"
    return dict(server.http.post(path, json={"message": message}).raise_for_status().json()["ai_response"])


def metadata(answer: dict[str, object]) -> dict[str, object]:
    found = answer["metadata"]
    assert isinstance(found, dict)
    return found


def cached_text(redis: Redis) -> str:
    """Return the values of all cache entries, one per line."""
    return "\n".join(str(redis.get(key)) for key in redis.scan_iter("answer:*"))
