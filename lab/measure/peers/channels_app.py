"""Django Channels with channels_redis: the chat of its tutorial, without accounts and pages.

    ECHOFLEET_PEERS_REDIS=redis://127.0.0.1:PORT \
      python -m daphne -b 127.0.0.1 -p PORT channels_app:application

A member joins the room that its path names, `/ws/<room>/`; it is accepted when it has. What it
sends, `{"message": "…"}`, every member of the room gets, itself among them. Started by
`servers.py`, with the interpreter of the peers' own virtual environment.
"""

import json
import os
from typing import Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [os.environ["ECHOFLEET_PEERS_REDIS"]]},
        }
    },
    INSTALLED_APPS=["channels"],
)
django.setup()


class Chat(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One member."""

    async def connect(self) -> None:
        """Join, then accept."""
        self.group = "chat_" + self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        """Leave."""
        del code
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data: str = "", bytes_data: bytes = b"") -> None:
        """Post."""
        del bytes_data
        message = json.loads(text_data)["message"]
        await self.channel_layer.group_send(self.group, {"type": "say", "message": message})

    async def say(self, event: dict[str, Any]) -> None:
        """Deliver."""
        await self.send(text_data=json.dumps({"message": event["message"]}))


application = ProtocolTypeRouter({"websocket": URLRouter([path("ws/<str:room>/", Chat.as_asgi())])})
