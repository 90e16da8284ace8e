"""Endpoints that are told what happens."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, status

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
from app.admin.webhooks import WebhookService
from app.core.webhook_secrets import WebhookSecrets
from app.http.dependencies import AdminUser, RequestOriginDep, ResourcesDep, SessionDep
from app.http.errors import responses

router = APIRouter(prefix="/webhooks")


async def get_webhooks(
    resources: ResourcesDep, admin: AdminUser, transaction: SessionDep, origin: RequestOriginDep
) -> WebhookService:
    """Return what the caller, who is an admin, may do to webhooks."""
    settings = resources.settings
    secrets = WebhookSecrets.from_secret(settings.SECRET_KEY.get_secret_value(), settings.webhook_secrets)
    return WebhookService(transaction, secrets, admin, origin)


WebhooksDep = Annotated[WebhookService, Depends(get_webhooks)]


@router.post("", status_code=status.HTTP_201_CREATED, responses=responses(400, 409, 413, 422))
async def create_webhook(wanted: WebhookCreate, service: WebhooksDep) -> WebhookWithSecret:
    """Add an endpoint. Its secret is in the answer, and in no later one."""
    return await service.create(wanted)


@router.get("")
async def list_webhooks(service: WebhooksDep) -> WebhookList:
    """Return all endpoints, newest first."""
    return await service.list_all()


@router.get("/{webhook_id}", responses=responses(404, 422))
async def get_webhook(webhook_id: UUID, service: WebhooksDep) -> WebhookResponse:
    """Return an endpoint."""
    return await service.get(webhook_id)


@router.patch("/{webhook_id}", responses=responses(400, 404, 409, 413, 422))
async def change_webhook(webhook_id: UUID, wanted: WebhookUpdate, service: WebhooksDep) -> WebhookResponse:
    """Change an endpoint; what is absent stays as it is. What waits for it goes out when it is enabled."""
    return await service.update(webhook_id, wanted)


@router.delete("/{webhook_id}", status_code=status.HTTP_204_NO_CONTENT, responses=responses(404, 422))
async def delete_webhook(webhook_id: UUID, service: WebhooksDep) -> None:
    """Delete an endpoint. It is told nothing any more, not even what waits for it."""
    await service.delete(webhook_id)


@router.post("/{webhook_id}/secret", responses=responses(400, 404, 409, 413, 422))
async def rotate_webhook_secret(webhook_id: UUID, wanted: SecretRotation, service: WebhooksDep) -> WebhookWithSecret:
    """Give an endpoint a new secret, and return it this once. Both sign while the old one is still good."""
    return await service.rotate_secret(webhook_id, wanted)


@router.post("/{webhook_id}/test", status_code=status.HTTP_202_ACCEPTED, responses=responses(404, 409, 422))
async def test_webhook(webhook_id: UUID, service: WebhooksDep) -> DeliveryResponse:
    """Have an endpoint told of `webhook.test`, whatever it wants to know of. A worker delivers it within seconds."""
    return await service.test(webhook_id)


@router.get("/{webhook_id}/deliveries", responses=responses(404, 422))
async def list_webhook_deliveries(
    webhook_id: UUID, query: Annotated[DeliveryQuery, Query()], service: WebhooksDep
) -> DeliveryPage:
    """Return the events of an endpoint, newest first."""
    return await service.list_deliveries(webhook_id, query)


@router.get("/{webhook_id}/deliveries/{delivery_id}", responses=responses(404, 422))
async def get_webhook_delivery(webhook_id: UUID, delivery_id: UUID, service: WebhooksDep) -> DeliveryDetail:
    """Return an event of an endpoint: what was sent, and what came back at each of the last attempts."""
    return await service.get_delivery(webhook_id, delivery_id)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=status.HTTP_202_ACCEPTED,
    responses=responses(404, 409, 422),
)
async def redeliver_webhook(webhook_id: UUID, delivery_id: UUID, service: WebhooksDep) -> DeliveryResponse:
    """Have an event delivered once more, under the id that it has."""
    return await service.redeliver(webhook_id, delivery_id)
