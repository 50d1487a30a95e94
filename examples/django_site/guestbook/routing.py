from django.urls import path

from .consumers import GuestbookConsumer

websocket_urlpatterns = [
    path("ws/guestbook/", GuestbookConsumer.as_asgi()),
]
