"""Administration of webhook endpoints: settings, secrets, deliveries and test events."""

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
"""Maximum number of endpoints. Each event may need one delivery for each of them."""

MAX_PREVIOUS_SECRETS = 5
"""Maximum number of replaced secrets of an endpoint that are still valid. Each one adds a signature to each request."""

# Fields whose values the audit log may contain. Of other fields it contains only the names: a URL may hold a secret.
_LOGGED_FIELDS = ("events", "is_enabled", "uses_shared_secret")


@dataclass(frozen=True, slots=True)
class WebhookService:
    """Webhook operations of one admin in one request. All changes are recorded in the audit log."""

    session: DatabaseSession
    secrets: WebhookSecrets
    admin: Principal
    origin: RequestOrigin

    async def create(self, new: WebhookCreate) -> WebhookWithSecret:
        """Create an endpoint.

        Raises:
            ConflictError: there are `MAX_ENDPOINTS` already, or the shared secret is requested but not set.

        """
        self._require_shared_secret(is_requested=new.uses_shared_secret)
        endpoint = await endpoints.create(self.session, NewEndpoint(**new.model_dump()), max_endpoints=MAX_ENDPOINTS)
        if endpoint is None:
            raise ConflictError(f"There are {MAX_ENDPOINTS} webhooks already.", code="too_many_webhooks")
        await self._record("webhook.created", endpoint.uuid, _audit_fields(endpoint))
        return self._with_secret(endpoint)

    async def list_all(self) -> WebhookList:
        """Return all endpoints."""
        rows = await endpoints.list_all(self.session)
        return WebhookList(webhooks=[WebhookResponse.model_validate(row) for row in rows])

    async def get(self, endpoint_uuid: UUID) -> WebhookResponse:
        """Return an endpoint.

        Raises:
            NotFoundError: the endpoint does not exist.

        """
        return WebhookResponse.model_validate(await self._get_endpoint(endpoint_uuid))

    async def update(self, endpoint_uuid: UUID, update: WebhookUpdate) -> WebhookResponse:
        """Change an endpoint.

        Raises:
            NotFoundError: the endpoint does not exist.
            ConflictError: the shared secret is requested but not set.

        """
        endpoint = await self._get_endpoint(endpoint_uuid, for_change=True)
        given = update.model_dump()  # without omitted fields
        changes = {name: value for name, value in given.items() if value != getattr(endpoint, name)}
        if not changes:
            return WebhookResponse.model_validate(endpoint)
        self._require_shared_secret(is_requested=changes.get("uses_shared_secret", False))
        before = _audit_fields(endpoint)
        details = {"changed": sorted(changes), "before": before}
        if changes.get("is_enabled"):
            changes["disabled_reason"] = None
        if "url" in changes or changes.get("is_enabled"):
            changes["failing_since"] = None
        changed = await endpoints.change(self.session, endpoint.id, changes)
        await self._record("webhook.updated", endpoint_uuid, details | {"after": _audit_fields(changed)})
        return WebhookResponse.model_validate(changed)

    async def delete(self, endpoint_uuid: UUID) -> None:
        """Delete an endpoint. Its deliveries are no longer attempted or visible, and deleted when they are too old.

        Raises:
            NotFoundError: the endpoint does not exist.

        """
        endpoint = await self._get_endpoint(endpoint_uuid, for_change=True)
        await endpoints.remove(self.session, endpoint.id)
        await self._record("webhook.deleted", endpoint_uuid)

    async def rotate_secret(self, endpoint_uuid: UUID, rotation: SecretRotation) -> WebhookWithSecret:
        """Replace the secret of an endpoint. The old one stays valid for the requested grace period.

        Secrets of earlier rotations stay valid until the end of their own grace period.

        Raises:
            NotFoundError: the endpoint does not exist.
            ConflictError: the endpoint uses the shared secret, or `MAX_PREVIOUS_SECRETS` are still valid.

        """
        endpoint = await self._get_endpoint(endpoint_uuid, for_change=True)
        if endpoint.uses_shared_secret:
            raise ConflictError(
                "The webhook is signed with WEBHOOK_SECRET. Change it in the settings.", code="shared_secret"
            )
        grace = timedelta(hours=rotation.grace_hours)
        rotated = await endpoints.rotate_secret(self.session, endpoint, grace=grace, max_previous=MAX_PREVIOUS_SECRETS)
        if rotated is None:
            raise ConflictError(
                f"{MAX_PREVIOUS_SECRETS} replaced secrets are still valid. Wait until one expires, or rotate with"
                " `grace_hours` 0.",
                code="too_many_secrets",
            )
        await self._record("webhook.secret_rotated", endpoint_uuid, {"grace_hours": rotation.grace_hours})
        return self._with_secret(rotated)

    async def test(self, endpoint_uuid: UUID) -> DeliveryResponse:
        """Add a `webhook.test` event for an endpoint to the outbox.

        Raises:
            NotFoundError: the endpoint does not exist.
            ConflictError: the endpoint is disabled.

        """
        endpoint = await self._get_enabled_endpoint(endpoint_uuid)
        data = {"webhook_id": str(endpoint_uuid)}
        delivery = await endpoints.add_event(self.session, endpoint.id, event_type="webhook.test", data=data)
        await self._record("webhook.tested", endpoint_uuid, {"event": str(delivery.event_id)})
        return DeliveryResponse.model_validate(delivery)

    async def list_deliveries(self, endpoint_uuid: UUID, query: DeliveryQuery) -> DeliveryPage:
        """Return a page of deliveries of an endpoint, newest first.

        Raises:
            NotFoundError: the endpoint does not exist.

        """
        endpoint = await self._get_endpoint(endpoint_uuid)
        rows = await endpoints.list_deliveries(
            self.session, endpoint.id, status=query.status, after=query.after, limit=query.limit + 1
        )
        page = [DeliveryResponse.model_validate(row) for row in rows[: query.limit]]
        return DeliveryPage(deliveries=page, next=page[-1].id if len(rows) > len(page) else None)

    async def get_delivery(self, endpoint_uuid: UUID, event_id: UUID) -> DeliveryDetail:
        """Return a delivery of an endpoint with its log.

        Raises:
            NotFoundError: the endpoint or the delivery does not exist.

        """
        endpoint = await self._get_endpoint(endpoint_uuid)
        delivery = await endpoints.find_delivery(self.session, endpoint.id, event_id)
        if delivery is None:
            raise NotFoundError
        return DeliveryDetail.model_validate(delivery)

    async def redeliver(self, endpoint_uuid: UUID, event_id: UUID) -> DeliveryResponse:
        """Schedule another delivery of an event, with the same event id.

        Raises:
            NotFoundError: the endpoint or the delivery does not exist.
            ConflictError: the endpoint is disabled, or the delivery is pending.

        """
        endpoint = await self._get_enabled_endpoint(endpoint_uuid)
        delivery = await endpoints.redeliver(self.session, endpoint.id, event_id)
        if delivery is None:
            if await endpoints.find_delivery(self.session, endpoint.id, event_id) is None:
                raise NotFoundError
            raise ConflictError("The delivery is still pending.", code="delivery_pending")
        await self._record("webhook.redelivered", endpoint_uuid, {"event": str(event_id), "type": delivery.type})
        return DeliveryResponse.model_validate(delivery)

    async def _get_endpoint(self, endpoint_uuid: UUID, *, for_change: bool = False) -> WebhookEndpoint:
        endpoint = await endpoints.find(self.session, endpoint_uuid, for_change=for_change)
        if endpoint is None:
            raise NotFoundError
        return endpoint

    async def _get_enabled_endpoint(self, endpoint_uuid: UUID) -> WebhookEndpoint:
        endpoint = await self._get_endpoint(endpoint_uuid, for_change=True)
        if not endpoint.is_enabled:
            raise ConflictError("The webhook is disabled.", code="webhook_disabled")
        return endpoint

    def _require_shared_secret(self, *, is_requested: bool) -> None:
        if is_requested and not self.secrets.shared:
            raise ConflictError("WEBHOOK_SECRET is not set.", code="no_shared_secret")

    def _with_secret(self, endpoint: WebhookEndpoint) -> WebhookWithSecret:
        secret = None
        if not endpoint.uses_shared_secret:
            secret = self.secrets.own(endpoint.uuid, endpoint.secret_generation)
        fields = WebhookResponse.model_validate(endpoint).model_dump(exclude={"id"})
        return WebhookWithSecret.model_validate({"uuid": endpoint.uuid, **fields, "secret": secret})

    async def _record(self, action: AuditAction, endpoint_uuid: UUID, details: dict[str, Any] | None = None) -> None:
        entry = NewAuditEntry(action, actor=self.admin.uuid, target=endpoint_uuid, details=details)
        await audit_log.record(self.session, entry, self.origin)


def _audit_fields(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {name: getattr(endpoint, name) for name in _LOGGED_FIELDS}
