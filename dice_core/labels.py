"""What a component or a model says of its classes."""

from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple, Union

from .options import listed


class LabelSpec(NamedTuple):
    """A component's or a model's classes. They stay the same from batch to batch.

    Attributes:
        owner: How to call it in messages.
        names: The label of each column.
        background: Names that stand for "none of them" (NER's O), left out of set-level counts
            unless the user says otherwise.
        sequence: Whether the rows are the tokens of documents in their order, which entity-level
            losses need.
        label_smoothing: The component's own, for cross-entropies.
        positions: Whether the columns are no labels but positions in a text, which mean nothing
            one by one.
        crf: Whether a CRF makes the probabilities.
        error: Makes the exception of a message.
    """

    owner: str
    names: Optional[Tuple[str, ...]] = None
    background: Tuple[str, ...] = ()
    sequence: bool = True
    label_smoothing: float = 0.0
    positions: bool = False
    crf: bool = False
    error: Callable[[str], Exception] = ValueError

    def unsmoothed(self) -> "LabelSpec":
        """The same without label smoothing."""
        return self._replace(label_smoothing=0.0)

    def config_error(self, message: str) -> Exception:
        """The error of a mistake that concerns these labels."""
        return self.error(f"{self.owner}: {message}")

    def columns(self, wanted: Sequence[Union[str, int]], option: str) -> List[int]:
        """The columns of labels given by name or by id.

        Raises:
            ValueError: For a label that there is not; it names owner, option and label.
        """
        columns = []
        for label in wanted:
            if isinstance(label, int) and not isinstance(label, bool):
                if label < 0 or (self.names is not None and label >= len(self.names)):
                    n = "?" if self.names is None else len(self.names)
                    raise self.config_error(
                        f"{option} has class id {label}, but there are {n} classes."
                    )
                columns.append(label)
            elif self.names is None:
                raise self.config_error(
                    f"{option} has the label {label!r}, but the loss was given no label names. "
                    "Pass names=[...], or use class ids."
                )
            elif label not in self.names:
                raise self.config_error(
                    f"{option} has the label {label!r}, which is none of its labels: "
                    f"{listed(self.names)}."
                )
            else:
                columns.append(self.names.index(label))
        return columns

    def columns_of(self, label: Union[str, int], option: str) -> List[int]:
        """The columns of a label or, where they are tags or actions of entities, of a type of
        entities: B-person, I-person and so on for "person".

        Raises:
            ValueError: For a label that there is not.
        """
        names = self.names or ()
        if label not in names:
            found = [c for c, name in enumerate(names) if name[1:] == f"-{label}"]
            if found:
                return found
        return self.columns([label], option)
