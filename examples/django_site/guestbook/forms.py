from django import forms
from django.conf import settings
from django.template.defaultfilters import filesizeformat

from .models import Entry

MAX_LINKS = 1


class EntryForm(forms.ModelForm):
    class Meta:
        model = Entry
        fields = ["name", "message"]
        widgets = {"message": forms.Textarea(attrs={"rows": 4})}

    def clean_message(self):
        message = self.cleaned_data["message"]
        if message.count("://") > MAX_LINKS:
            raise forms.ValidationError("At most one link, please.")
        return message


class UploadForm(forms.Form):
    # Django strips folders from the name; what is left is shown and offered again on download.
    file = forms.FileField(max_length=255)

    def clean_file(self):
        file = self.cleaned_data["file"]
        if file.size > settings.UPLOAD_MAX_SIZE:
            raise forms.ValidationError(
                f"The file is {filesizeformat(file.size)}; "
                f"at most {filesizeformat(settings.UPLOAD_MAX_SIZE)} are taken."
            )
        return file
