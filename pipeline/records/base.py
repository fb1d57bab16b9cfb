"""What all records share: frozen, without unknown keys, read and written in one way."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import IntegrityError
from pipeline.files import read_json, write_json


class Part(BaseModel):
    """A part of a record."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Record(Part):
    """The content of one JSON artifact."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            IntegrityError: the file is missing, is no JSON, or is not such a record; the first field at fault is named.
        """
        content = read_json(path)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "its content"
            raise IntegrityError(f"{path}: {where}: {first['msg']}: `dvc repro` makes it anew") from error

    def write(self, path: Path) -> None:
        """Write as JSON; a reader sees the old file or the whole new one."""
        write_json(path, self.model_dump(mode="json"))
