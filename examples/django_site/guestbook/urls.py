from django.urls import path

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("guestbook/", views.guestbook, name="guestbook"),
    path("guestbook/<int:pk>/delete/", views.delete_entry, name="delete-entry"),
    path("files/", views.files, name="files"),
    path("files/<int:pk>/", views.download, name="download"),
    path("countdown/<int:start>/", views.countdown, name="countdown"),
]
