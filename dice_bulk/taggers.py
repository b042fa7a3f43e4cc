"""What the two toolkits' taggers share: which of them a model needs, and texts that fail."""

import hashlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple, Union

Found = Dict[str, List[Dict[str, Any]]]


class Failed(NamedTuple):
    """A text that the model raised an error for."""

    reason: str


Tagged = List[Union[Found, Failed]]


class Tagger:
    """A model that is loaded once, and tags batch after batch. With spaCy and Flair each has one.

    Attributes:
        fields: What the model gives, of ``ents``, ``spans``, ``cats`` and ``tags``.
    """

    fields: Tuple[str, ...]

    def tag(self, texts: Sequence[str], fields: Sequence[str]) -> Tagged:
        """For each text a list for each field, or why there is none."""
        raise NotImplementedError

    def check(self, fields: Sequence[str]) -> None:
        """Raise a ValueError for a field that the model does not give."""
        missing = [name for name in fields if name not in self.fields]
        if missing:
            raise ValueError(
                f"The model gives no {missing[0]}; it gives {', '.join(self.fields) or 'nothing'}."
            )


def load_tagger(model: str, code: Union[str, None], on_gpu: bool) -> Tagger:
    """The model in whichever toolkit it is of.

    Args:
        model: Folder or package of a spaCy pipeline, or file of a Flair model.
        code: A Python file to import first, or None.
        on_gpu: Whether it predicts on the first GPU that this process sees.

    Raises:
        OSError: If there is no such model.
        ImportError: If its toolkit is not installed.
        ValueError: If the file is no model of Flair's, or of a kind that takes more than a text.
    """
    if code is not None:
        import_code(code)
    if Path(model).is_file():
        from .with_flair import FlairTagger

        return FlairTagger(model, on_gpu)
    from .with_spacy import SpacyTagger

    return SpacyTagger(model, on_gpu)


def locate(model: str) -> str:
    """A model's path, the same wherever a worker starts; the name of a package as it is.

    Raises:
        OSError: If there is none.
    """
    path = Path(model)
    if path.is_file() or (path / "config.cfg").is_file():
        return str(path.resolve())
    try:
        from spacy.util import is_package
    except ImportError:
        pass
    else:
        if is_package(model):
            return model
    hints = [each for each in ("model-best", "final-model.pt") if (path / each).exists()]
    hint = f" Did you mean {path / hints[0]}?" if hints else ""
    raise OSError(
        f"There is no model {model}: neither a package or folder of a spaCy pipeline, nor a file "
        f"of a Flair model.{hint}"
    )


def digest(model: str) -> str:
    """A hash of all bytes of a model, to tell it from others."""
    path = Path(model)
    if not path.exists():
        from spacy.util import get_package_path

        path = get_package_path(model)
    made = hashlib.blake2b(digest_size=16)
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            made.update(file.name.encode())
            with file.open("rb") as content:
                while chunk := content.read(1 << 20):
                    made.update(chunk)
    return made.hexdigest()


def one_by_one(tag: Callable[[Sequence[str]], List[Found]], texts: Sequence[str]) -> Tagged:
    """All that can be tagged of a batch: if it fails, its halves are tried, down to single texts.

    Args:
        tag: The model; its length of output is checked.
        texts: A batch.
    """
    try:
        found = tag(texts)
        if len(found) != len(texts):
            raise ValueError(f"The model gave {len(found)} results for {len(texts)} texts.")
        return list(found)
    except Exception as error:
        if len(texts) == 1:
            reason = " ".join(str(error).split())
            return [Failed(f"{type(error).__name__}: {reason}"[:1000])]
    half = len(texts) // 2
    return [*one_by_one(tag, texts[:half]), *one_by_one(tag, texts[half:])]


def import_code(code: str) -> None:
    """Run a Python file, for what it registers; once in a process.

    Raises:
        OSError: If it is no Python file.
    """
    path = str(Path(code).resolve())
    name = f"dice_bulk_code_{hashlib.blake2b(path.encode(), digest_size=4).hexdigest()}"
    if name in sys.modules:
        return
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise OSError(f"code: {code} is no Python file.")
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
