import json

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.template.loader import render_to_string

from .forms import EntryForm


class GuestbookConsumer(AsyncJsonWebsocketConsumer):
    """One open guestbook page: takes an entry as its form does, shows those of everybody."""

    groups = ["guestbook"]  # joined when the socket opens, left when it closes

    async def connect(self):
        await self.accept()
        # AuthMiddlewareStack has read the session cookie; the name is "" for an anonymous visitor.
        await self.send_json({"user": self.scope["user"].get_username()})

    async def receive(self, text_data=None, bytes_data=None, **_kwargs):
        try:
            fields = dict(json.loads(text_data))
        except (TypeError, ValueError):  # binary, no JSON, or not an object
            await self.close(code=1008, reason="Please send the fields of the form as JSON.")
            return
        html, errors = await sign(fields)
        if errors:
            await self.send_json({"errors": errors})
        else:
            await self.send_json({"signed": True})
            # To every consumer of the group, this one too: each has its entry_signed called.
            await self.channel_layer.group_send("guestbook", {"type": "entry.signed", "html": html})

    async def entry_signed(self, event):
        await self.send_json({"entry": event["html"]})


@database_sync_to_async
def sign(fields):
    """Store an entry; its HTML, or what is wrong with it."""
    form = EntryForm(fields)
    if not form.is_valid():
        return "", [error for errors in form.errors.values() for error in errors]
    return render_to_string("guestbook/entry.html", {"entry": form.save()}), []
