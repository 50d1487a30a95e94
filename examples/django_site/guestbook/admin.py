from django.contrib import admin

from .models import Entry, Upload


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin):
    list_display = ["name", "message", "created"]
    list_filter = ["created"]
    search_fields = ["name", "message"]


@admin.register(Upload)
class UploadAdmin(admin.ModelAdmin):
    list_display = ["name", "size", "created"]
    readonly_fields = ["file", "size"]

    def has_add_permission(self, _request):
        return False  # the form on the site checks the size
