"""A pack in place of images and model."""

import functools

from clipeval.errors import ModelError, NotStoredError
from clipeval.models.info import model_line
from clipeval.sources.base import Source
from clipeval.sources.pack_file import open_pack, other_key


class Packed(Source):
    """Everything from the pack that the parameter `pack` names.

    Raises
    ------
    DataError  if it is not a whole pack
    ParameterError  if the study is not in it, or was run with another model or data set
    """

    def __init__(self, parameters, *, study, progress=True, model=""):
        super().__init__(parameters, study=study, progress=progress)
        self.file = open_pack(parameters.pack)
        if not model:
            self.file.check(study, parameters)
        entry = self.file.study(study)
        self.model = model or entry.get("model", "")  # a card has none
        self.recorded_templates = entry.get("templates", {})
        self.sha256 = self.file.sha256

    def images(self, values):
        return self.file.images(self.study, values)

    @functools.cached_property
    def info(self):
        return self.file.info(self.model)

    def embed(self, images, features="projected"):
        return self.file.embed(self.model, images, features)

    def encode(self, prompts):
        return self.file.encode(self.model, prompts)

    def answers(self, classes):
        try:
            return bool(
                self.encode([prompt for texts in classes.values() for prompt in texts]).size
            )
        except ModelError:
            return False

    def other(self, *, stored_only=False, **changes):
        held = self.file.study(self.study).get("others", {})
        if (model := held.get(other_key(changes))) is None:
            raise NotStoredError("the pack holds no embeddings of that precision and size.")
        parameters = self.parameters.model_copy(update=changes)
        return Packed(parameters, study=self.study, progress=self.progress, model=model)

    def check_model(self, study):
        return model_line(self.info.name, "its embeddings are in the pack")

    def describe(self):
        return [
            f"Embeddings and labels are those of {self.file.path.name} (sha256 of its manifest "
            f"{self.sha256}); no image was opened."
        ]
