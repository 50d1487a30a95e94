import uuid

from django.db import models


def random_path(_upload, _filename):
    """A name on disk that owes nothing to the visitor: no clash, no "..", no suffix to run."""
    return f"uploads/{uuid.uuid4().hex}"


class Entry(models.Model):
    name = models.CharField(max_length=60)
    message = models.TextField(max_length=1000)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created", "-pk"]
        verbose_name_plural = "entries"

    def __str__(self):
        return f"{self.name}: {self.message[:40]}"


class Upload(models.Model):
    name = models.CharField(max_length=255, help_text="The visitor's name for it.")
    file = models.FileField(upload_to=random_path)
    size = models.PositiveBigIntegerField(help_text="In bytes.")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created", "-pk"]

    def __str__(self):
        return self.name
