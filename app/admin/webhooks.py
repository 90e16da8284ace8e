"""Endpoints of webhooks: who may be told what, with which secret, and what became of it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.admin.schemas.webhooks import (
    DeliveryDetail,
    DeliveryPage,
    DeliveryQuery,
    DeliveryResponse,
    SecretRotation,
    WebhookCreate,
    WebhookList,
    WebhookResponse,
    WebhookUpdate,
    WebhookWithSecret,
)
from app.core.exceptions import ConflictError, NotFoundError
from app.core.webhook_secrets import WebhookSecrets
from app.database.connection import DatabaseSession
from app.database.models import WebhookEndpoint
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import AuditAction, NewAuditEntry, RequestOrigin
from app.database.repositories.webhooks import endpoints
from app.database.repositories.webhooks.endpoints import NewEndpoint

MAX_ENDPOINTS = 50
"""Each event may be written once for each of them."""

# Of others the log names only that they changed: a URL may hold a secret.
_LOGGED_FIELDS = ("events", "is_enabled", "uses_shared_secret")


@dataclass(frozen=True, slots=True)
class WebhookService:
    """What one admin does, in one request."""

    session: DatabaseSession
    secrets: WebhookSecrets
    admin: Principal
    origin: RequestOrigin

    async def create(self, wanted: WebhookCreate) -> WebhookWithSecret:
        """Make an endpoint.

        Raises:
            ConflictError: there are enough, or it wants a secret that is not set.

        """
        self._require_shared_secret(is_wanted=wanted.uses_shared_secret)
        endpoint = await endpoints.create(self.session, NewEndpoint(**wanted.model_dump()), max_endpoints=MAX_ENDPOINTS)
        if endpoint is None:
            raise ConflictError(f"There are {MAX_ENDPOINTS} webhooks already.", code="too_many_webhooks")
        await self._note("webhook.created", endpoint.uuid, _logged(endpoint))
        return self._with_secret(endpoint)

    async def list_all(self) -> WebhookList:
        """Return all endpoints."""
        found = await endpoints.list_all(self.session)
        return WebhookList(webhooks=[WebhookResponse.model_validate(one) for one in found])

    async def get(self, endpoint_uuid: UUID) -> WebhookResponse:
        """Return an endpoint.

        Raises:
            NotFoundError: there is none.

        """
        return WebhookResponse.model_validate(await self._find(endpoint_uuid))

    async def update(self, endpoint_uuid: UUID, wanted: WebhookUpdate) -> WebhookResponse:
        """Change an endpoint.

        Raises:
            NotFoundError: there is none.
            ConflictError: it wants a secret that is not set.

        """
        endpoint = await self._find(endpoint_uuid, for_change=True)
        given = wanted.model_dump()  # without what was left out
        changes = {name: value for name, value in given.items() if value != getattr(endpoint, name)}
        if not changes:
            return WebhookResponse.model_validate(endpoint)
        self._require_shared_secret(is_wanted=changes.get("uses_shared_secret", False))
        before = _logged(endpoint)
        details = {"changed": sorted(changes), "before": before}
        if changes.get("is_enabled"):
            changes["disabled_reason"] = None
        if "url" in changes or changes.get("is_enabled"):
            changes["failing_since"] = None
        changed = await endpoints.change(self.session, endpoint.id, changes)
        await self._note("webhook.updated", endpoint_uuid, details | {"after": _logged(changed)})
        return WebhookResponse.model_validate(changed)

    async def delete(self, endpoint_uuid: UUID) -> None:
        """Delete an endpoint. It is told nothing any more, not even what is pending.

        Raises:
            NotFoundError: there is none.

        """
        endpoint = await self._find(endpoint_uuid, for_change=True)
        await endpoints.remove(self.session, endpoint.id)
        await self._note("webhook.deleted", endpoint_uuid)

    async def rotate_secret(self, endpoint_uuid: UUID, wanted: SecretRotation) -> WebhookWithSecret:
        """Give an endpoint a new secret.

        Raises:
            NotFoundError: there is no such endpoint.
            ConflictError: it has no secret of its own.

        """
        endpoint = await self._find(endpoint_uuid, for_change=True)
        if endpoint.uses_shared_secret:
            raise ConflictError("It is signed with WEBHOOK_SECRET, which the settings change.", code="shared_secret")
        grace = timedelta(hours=wanted.grace_hours)
        rotated = await endpoints.rotate_secret(self.session, endpoint.id, grace=grace)
        await self._note("webhook.secret_rotated", endpoint_uuid, {"grace_hours": wanted.grace_hours})
        return self._with_secret(rotated)

    async def test(self, endpoint_uuid: UUID) -> DeliveryResponse:
        """Have an endpoint told that this is a test.

        Raises:
            NotFoundError: there is no such endpoint.
            ConflictError: it is disabled.

        """
        endpoint = await self._find_enabled(endpoint_uuid)
        data = {"webhook_id": str(endpoint_uuid)}
        delivery = await endpoints.add_event(self.session, endpoint.id, event_type="webhook.test", data=data)
        await self._note("webhook.tested", endpoint_uuid, {"event": str(delivery.event_id)})
        return DeliveryResponse.model_validate(delivery)

    async def list_deliveries(self, endpoint_uuid: UUID, query: DeliveryQuery) -> DeliveryPage:
        """Return events of an endpoint.

        Raises:
            NotFoundError: there is no such endpoint.

        """
        endpoint = await self._find(endpoint_uuid)
        found = await endpoints.list_deliveries(
            self.session, endpoint.id, status=query.status, after=query.after, limit=query.limit + 1
        )
        shown = [DeliveryResponse.model_validate(one) for one in found[: query.limit]]
        return DeliveryPage(deliveries=shown, next=shown[-1].id if len(found) > len(shown) else None)

    async def get_delivery(self, endpoint_uuid: UUID, event_id: UUID) -> DeliveryDetail:
        """Return an event of an endpoint.

        Raises:
            NotFoundError: there is no such endpoint or event.

        """
        endpoint = await self._find(endpoint_uuid)
        delivery = await endpoints.find_delivery(self.session, endpoint.id, event_id)
        if delivery is None:
            raise NotFoundError
        return DeliveryDetail.model_validate(delivery)

    async def redeliver(self, endpoint_uuid: UUID, event_id: UUID) -> DeliveryResponse:
        """Have an event delivered once more, with the same id.

        Raises:
            NotFoundError: there is no such endpoint or event.
            ConflictError: the endpoint is disabled, or the event is still to be delivered.

        """
        endpoint = await self._find_enabled(endpoint_uuid)
        delivery = await endpoints.redeliver(self.session, endpoint.id, event_id)
        if delivery is None:
            if await endpoints.find_delivery(self.session, endpoint.id, event_id) is None:
                raise NotFoundError
            raise ConflictError("It is still to be delivered.", code="delivery_pending")
        await self._note("webhook.redelivered", endpoint_uuid, {"event": str(event_id), "type": delivery.type})
        return DeliveryResponse.model_validate(delivery)

    async def _find(self, endpoint_uuid: UUID, *, for_change: bool = False) -> WebhookEndpoint:
        endpoint = await endpoints.find(self.session, endpoint_uuid, for_change=for_change)
        if endpoint is None:
            raise NotFoundError
        return endpoint

    async def _find_enabled(self, endpoint_uuid: UUID) -> WebhookEndpoint:
        endpoint = await self._find(endpoint_uuid, for_change=True)
        if not endpoint.is_enabled:
            raise ConflictError("The webhook is disabled.", code="webhook_disabled")
        return endpoint

    def _require_shared_secret(self, *, is_wanted: bool) -> None:
        if is_wanted and not self.secrets.shared:
            raise ConflictError("WEBHOOK_SECRET is not set.", code="no_shared_secret")

    def _with_secret(self, endpoint: WebhookEndpoint) -> WebhookWithSecret:
        secret = None
        if not endpoint.uses_shared_secret:
            secret = self.secrets.own(endpoint.uuid, endpoint.secret_generation)
        shown = WebhookResponse.model_validate(endpoint).model_dump(exclude={"id"})
        return WebhookWithSecret.model_validate({"uuid": endpoint.uuid, **shown, "secret": secret})

    async def _note(self, action: AuditAction, endpoint_uuid: UUID, details: dict[str, Any] | None = None) -> None:
        entry = NewAuditEntry(action, actor=self.admin.uuid, target=endpoint_uuid, details=details)
        await audit_log.record(self.session, entry, self.origin)


def _logged(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {name: getattr(endpoint, name) for name in _LOGGED_FIELDS}
