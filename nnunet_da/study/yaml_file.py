"""YAML that refuses what it would silently drop."""

from pathlib import Path
from typing import Any

from nnunet_da.errors import UserError


def read_yaml(file: Path) -> dict[str, Any]:
    """The object of a YAML file.

    Raises:
        UserError: no such file, no YAML, a name given twice, or no object.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a name that stands twice in one object; PyYAML would keep the last one."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            names = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                line = node.start_mark.line + 1
                raise UserError(f"{file}: every name may stand once in an object, '{twice[0]}' stands twice in the one of line {line}")
            return super().construct_mapping(node, deep)

    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        raise UserError(f"a study file was expected, but {file} does not exist: check the path") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"a study file must be readable YAML, {file} is not ({error}): correct it") from error
    if not isinstance(content, dict):
        raise UserError(f"a study file must be an object of names and values, {file} holds {type(content).__name__}: correct it")
    return content
